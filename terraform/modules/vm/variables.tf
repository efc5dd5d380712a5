variable "hostname" {
  description = "Name of the machine."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$", var.hostname))
    error_message = "hostname wants 1 to 63 lower-case letters, digits and hyphens, none at an end."
  }
}

variable "settings_content" {
  description = "Text of /etc/appcore/appcore.env: settings_content of the environment module."
  type        = string
  nullable    = false

  validation {
    condition     = endswith(var.settings_content, "\n") && strcontains(var.settings_content, "ENVIRONMENT=")
    error_message = "settings_content is a settings file, which names ENVIRONMENT and ends with a line break."
  }
}

variable "package_url" {
  description = "Where the Debian package lies, by https; empty when package_path is given."
  type        = string
  default     = ""
  nullable    = false

  validation {
    condition     = var.package_url == "" || can(regex("^https://[^\\s'\"]+\\.deb$", var.package_url))
    error_message = "package_url begins with https:// and ends with .deb."
  }

  validation {
    condition     = (var.package_url == "") != (var.package_path == "")
    error_message = "Give package_url or package_path, one of them."
  }
}

variable "package_path" {
  description = "Path of the Debian package on the machine (an image that has it, a mounted volume); empty when package_url is given."
  type        = string
  default     = ""
  nullable    = false

  validation {
    condition     = var.package_path == "" || can(regex("^/[^\\s'\"]+\\.deb$", var.package_path))
    error_message = "package_path begins with / and ends with .deb."
  }
}

variable "package_sha256" {
  description = "SHA-256 of the package: another file is not installed."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[0-9a-f]{64}$", var.package_sha256))
    error_message = "package_sha256 is 64 hexadecimal digits in lower case: sha256sum tells them."
  }
}

variable "data_device" {
  description = "Device of the data volume (/dev/disk/by-id/...); formatted only when there is nothing on it. Empty: the data lies on the root disk."
  type        = string
  default     = ""
  nullable    = false

  validation {
    condition     = var.data_device == "" || can(regex("^/dev/[A-Za-z0-9/_.:+-]+$", var.data_device))
    error_message = "data_device is a path below /dev."
  }
}

variable "data_directory" {
  description = "Where the data volume is mounted: the service's state."
  type        = string
  default     = "/var/lib/appcore"
  nullable    = false

  validation {
    condition     = can(regex("^/[A-Za-z0-9/_.-]+[^/]$", var.data_directory))
    error_message = "data_directory is an absolute path of letters, digits and / _ . -, without a slash at its end."
  }
}

variable "data_filesystem" {
  description = "ext4 or xfs."
  type        = string
  default     = "ext4"
  nullable    = false

  validation {
    condition     = contains(["ext4", "xfs"], var.data_filesystem)
    error_message = "data_filesystem is ext4 or xfs."
  }
}

variable "secret_names" {
  description = "Secrets that the machine fetches, by the names of their settings in lower case."
  type        = list(string)
  default     = ["api_key", "secret_key"]
  nullable    = false

  validation {
    condition     = length(var.secret_names) == length(distinct(var.secret_names)) && alltrue([for name in var.secret_names : can(regex("^[a-z][a-z0-9_]*$", name))])
    error_message = "secret_names are settings' names in lower case, each once."
  }
}

variable "secret_command" {
  description = "Command that prints the secret whose name is in $NAME, as the machine's own identity may read it from the provider's store. Empty: the package makes random secrets when it is installed."
  type        = string
  default     = ""
  nullable    = false

  validation {
    condition     = var.secret_command == "" || (strcontains(var.secret_command, "$NAME") || strcontains(var.secret_command, "$${NAME}")) && !can(regex("[\r\n]", var.secret_command))
    error_message = "secret_command is one line and has $NAME where the name of the secret belongs."
  }
}

variable "extra_packages" {
  description = "Debian packages beside those of the service: the secret store's client, for one."
  type        = list(string)
  default     = []
  nullable    = false

  validation {
    condition     = alltrue([for name in var.extra_packages : can(regex("^[a-z0-9][a-z0-9+.-]+$", name))])
    error_message = "extra_packages are names of Debian packages."
  }
}

variable "health_url" {
  description = "What has to answer before the first boot counts as done."
  type        = string
  default     = "https://localhost"
  nullable    = false

  validation {
    condition     = can(regex("^https?://[A-Za-z0-9.:\\[\\]-]+$", var.health_url))
    error_message = "health_url is http:// or https:// with a host and perhaps a port, without a path."
  }
}

variable "automatic_reboot" {
  description = "When the machine may restart for a security update that needs it (02:30); empty: never by itself."
  type        = string
  default     = ""
  nullable    = false

  validation {
    condition     = var.automatic_reboot == "" || can(regex("^([01][0-9]|2[0-3]):[0-5][0-9]$", var.automatic_reboot))
    error_message = "automatic_reboot is a time of day, 00:00 to 23:59, or empty."
  }
}

variable "tags" {
  description = "Tags of the environment; written into the user data's head, and handed on for the provider's machine."
  type        = map(string)
  default     = {}
  nullable    = false
}

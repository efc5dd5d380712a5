# What the modules check is checked there: their messages name the variables by the same names.

variable "app_name" {
  description = "Name of the service: part of its logs, its metrics and its tags."
  type        = string
  default     = "practical-production-service"
  nullable    = false
}

variable "environment" {
  description = "development, staging or production."
  type        = string
  default     = "staging"
  nullable    = false
}

variable "app_port" {
  description = "Port of the direct listener, on loopback; the ports after it belong to one instance each."
  type        = number
  default     = 8000
  nullable    = false
}

variable "https_port" {
  description = "Port of HTTPS where the files are used as they are; the machine of modules/vm has 443."
  type        = number
  default     = 8443
  nullable    = false
}

variable "http_port" {
  description = "Port of HTTP, which only redirects; the machine of modules/vm has 80."
  type        = number
  default     = 8080
  nullable    = false
}

variable "instances" {
  description = "Processes that answer requests."
  type        = number
  default     = 2
  nullable    = false
}

variable "workers" {
  description = "Processes that run background tasks."
  type        = number
  default     = 1
  nullable    = false
}

variable "settings" {
  description = "More settings, by the names that .env.example lists. No secrets: those are credentials."
  type        = map(string)
  default     = {}
  nullable    = false
}

variable "credentials" {
  description = "Secrets by the names of their settings in lower case; written with mode 0600 and kept in the state. Best given as TF_VAR_credentials, or left empty where the machine fetches them."
  type        = map(string)
  default     = {}
  nullable    = false
  sensitive   = true
}

variable "output_directory" {
  description = "Folder of the files; generated/ beside the root when it is empty."
  type        = string
  default     = ""
  nullable    = false
}

variable "image" {
  description = "Container image of the generated compose file, with the tag of a commit or a version."
  type        = string
  default     = "appcore:unreleased"
  nullable    = false

  validation {
    condition     = can(regex("^[a-z0-9][a-z0-9._/:-]*(:[A-Za-z0-9][A-Za-z0-9._-]*|@sha256:[0-9a-f]{64})$", var.image)) && !endswith(var.image, ":latest")
    error_message = "image has the tag of a commit or a version, or a digest; latest says neither."
  }
}

variable "package_url" {
  description = "Where the machine fetches the Debian package, by https."
  type        = string
  default     = ""
  nullable    = false
}

variable "package_path" {
  description = "Path of the Debian package on the machine, instead of package_url."
  type        = string
  default     = ""
  nullable    = false
}

variable "package_sha256" {
  description = "SHA-256 of the package; without it there is no user data."
  type        = string
  default     = ""
  nullable    = false
}

variable "data_device" {
  description = "Device of the machine's data volume; empty: the root disk."
  type        = string
  default     = ""
  nullable    = false
}

variable "secret_names" {
  description = "Secrets that the machine fetches, by the names of their settings in lower case."
  type        = list(string)
  default     = ["api_key", "secret_key"]
  nullable    = false
}

variable "secret_command" {
  description = "Command on the machine that prints the secret whose name is in $NAME. Empty: the package makes random secrets."
  type        = string
  default     = ""
  nullable    = false
}

variable "extra_packages" {
  description = "Debian packages of the machine beside those of the service."
  type        = list(string)
  default     = []
  nullable    = false
}

variable "automatic_reboot" {
  description = "Time of day at which the machine may restart for a security update; empty: never by itself."
  type        = string
  default     = ""
  nullable    = false
}

variable "tags" {
  description = "Tags beside application, environment and managed-by."
  type        = map(string)
  default     = {}
  nullable    = false
}

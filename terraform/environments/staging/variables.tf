# What differs from one run to the next. What belongs to this environment stands in main.tf.

variable "image" {
  description = "Container image of the generated compose file, with the tag of a commit or a version."
  type        = string
  default     = "appcore:unreleased"
  nullable    = false
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

variable "credentials" {
  description = "Secrets by the names of their settings in lower case, best as TF_VAR_credentials; empty where the machine fetches them."
  type        = map(string)
  default     = {}
  nullable    = false
  sensitive   = true
}

variable "data_device" {
  description = "Device of the machine's data volume."
  type        = string
  default     = ""
  nullable    = false
}

variable "secret_command" {
  description = "Command on the machine that prints the secret whose name is in $NAME."
  type        = string
  default     = ""
  nullable    = false
}

variable "output_directory" {
  description = "Folder of the files; generated/ beside this one when it is empty."
  type        = string
  default     = ""
  nullable    = false
}

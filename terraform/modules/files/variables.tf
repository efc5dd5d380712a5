variable "directory" {
  description = "Folder of the files; made if missing."
  type        = string
}

variable "env_file_name" {
  description = "Name of the settings file."
  type        = string
}

variable "env_file_content" {
  description = "Text of the settings file."
  type        = string
}

variable "credentials_folder" {
  description = "Name of the folder of the credentials, in directory."
  type        = string
}

variable "credential_names" {
  description = "Names of the credentials, which are no secret."
  type        = list(string)
}

variable "credentials" {
  description = "The credentials by name."
  type        = map(string)
  sensitive   = true
}

variable "compose_file_name" {
  description = "Name of the compose file."
  type        = string
}

variable "compose_content" {
  description = "Text of the compose file."
  type        = string
}

variable "mode" {
  description = "Mode of the settings file and of the credentials."
  type        = string
  default     = "0600"

  validation {
    condition     = contains(["0400", "0600"], var.mode)
    error_message = "mode is 0600 or 0400: credentials are their owner's alone."
  }
}

# Writes what the other modules compute. The only place that needs a provider, so that the rest can be tested without.

terraform {
  required_version = ">= 1.10"

  required_providers {
    local = {
      source  = "hashicorp/local"
      version = "~> 2.0"
    }
  }
}

resource "local_sensitive_file" "env" {
  filename             = "${var.directory}/${var.env_file_name}"
  content              = var.env_file_content
  file_permission      = var.mode
  directory_permission = "0700"
}

resource "local_sensitive_file" "credential" {
  for_each = toset(var.credential_names)

  filename             = "${var.directory}/${var.credentials_folder}/${each.key}"
  content              = var.credentials[each.key]
  file_permission      = var.mode
  directory_permission = "0700"
}

resource "local_file" "compose" {
  filename             = "${var.directory}/${var.compose_file_name}"
  content              = var.compose_content
  file_permission      = "0644"
  directory_permission = "0700"
}

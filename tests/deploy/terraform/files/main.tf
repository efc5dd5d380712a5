# Stands in for terraform/modules/files where hashicorp/local can't be downloaded: the same variables and outputs, the
# files written by a shell. Only tests use it.

terraform {
  required_version = ">= 1.10"
}

locals {
  write = "umask 077; mkdir -p \"$(dirname \"$FILE\")\" && printf %s \"$CONTENT\" >\"$FILE.new\" && chmod \"$MODE\" \"$FILE.new\" && mv \"$FILE.new\" \"$FILE\""
}

resource "terraform_data" "env" {
  input            = "${var.directory}/${var.env_file_name}"
  triggers_replace = [var.directory, var.env_file_name, var.mode, sha256(var.env_file_content)]

  provisioner "local-exec" {
    command     = local.write
    environment = { FILE = self.input, CONTENT = var.env_file_content, MODE = var.mode }
  }
}

resource "terraform_data" "credential" {
  for_each = toset(var.credential_names)

  input            = "${var.directory}/${var.credentials_folder}/${each.key}"
  triggers_replace = [var.directory, var.mode, nonsensitive(sha256(var.credentials[each.key]))]

  provisioner "local-exec" {
    command     = local.write
    environment = { FILE = self.input, CONTENT = var.credentials[each.key], MODE = var.mode }
  }
}

resource "terraform_data" "compose" {
  input            = "${var.directory}/${var.compose_file_name}"
  triggers_replace = [var.directory, sha256(var.compose_content)]

  provisioner "local-exec" {
    command     = local.write
    environment = { FILE = self.input, CONTENT = var.compose_content, MODE = "0644" }
  }
}

# What one environment's service is told: the text of its settings file and of its credentials, their names and modes.
# Everything is computed and nothing written (modules/files does that): so this is tested without any provider.

terraform {
  required_version = ">= 1.10"
}

locals {
  credential_names = nonsensitive(sort(keys(var.credentials)))

  settings = merge(
    {
      APP_NAME    = var.app_name
      ENVIRONMENT = var.environment
      APP_PORT    = tostring(var.app_port)
      # The line of each request is written at every level: production loses nothing that is searched for.
      LOG_LEVEL   = var.environment == "production" ? "WARNING" : "INFO"
      DIRECT_PORT = tostring(var.app_port)
      HTTPS_PORT  = tostring(var.https_port)
      HTTP_PORT   = tostring(var.http_port)
      INSTANCES   = tostring(var.instances)
      WORKERS     = tostring(var.workers)
    },
    var.settings,
  )

  # These four stand first and in this order; the rest follows by name.
  leading        = ["APP_NAME", "ENVIRONMENT", "APP_PORT", "LOG_LEVEL"]
  ordered        = concat(local.leading, [for name in sort(keys(local.settings)) : name if !contains(local.leading, name)])
  settings_lines = [for name in local.ordered : "${name}=${local.settings[name]}"]

  reference_lines = [
    for name in local.credential_names : "${upper(name)}_FILE=${var.credentials_directory}/${name}"
  ]

  tags = merge(var.tags, {
    application = var.app_name
    environment = var.environment
    managed-by  = "terraform"
  })

  heading = "# Settings of ${var.app_name}, ${var.environment}. Written by Terraform: change them there."
}

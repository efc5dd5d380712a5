output "env_file_name" {
  description = "Name of the settings file."
  value       = ".env.${var.environment}"
}

output "env_file_content" {
  description = "The settings file of a machine that has the credentials as files: it names them."
  value       = "${join("\n", concat([local.heading], local.settings_lines, local.reference_lines))}\n"
}

output "settings_content" {
  description = "The settings file of a machine whose service manager hands the credentials over: it does not name them."
  value       = "${join("\n", concat([local.heading], local.settings_lines))}\n"
}

output "shared_settings" {
  description = "The settings that do not say where a service listens: containers have ports of their own."
  value       = { for name, value in local.settings : name => value if !endswith(name, "_PORT") && !contains(["INSTANCES", "WORKERS"], name) }
}

output "credentials" {
  description = "What is in each credentials file."
  value       = var.credentials
  sensitive   = true
}

output "credential_names" {
  description = "The credentials' names, which are no secret."
  value       = local.credential_names
}

output "credential_mode" {
  description = "Mode of the credentials files and of the settings file."
  value       = "0600"
}

output "tags" {
  description = "Tags for everything that belongs to this environment."
  value       = local.tags
}

output "env_file" {
  description = "Path of the settings file."
  value       = local_sensitive_file.env.filename
}

output "compose_file" {
  description = "Path of the compose file."
  value       = local_file.compose.filename
}

output "credential_files" {
  description = "Paths of the credentials files by name."
  value       = { for name, file in local_sensitive_file.credential : name => file.filename }
}

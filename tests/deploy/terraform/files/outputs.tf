output "env_file" {
  description = "Path of the settings file."
  value       = terraform_data.env.output
}

output "compose_file" {
  description = "Path of the compose file."
  value       = terraform_data.compose.output
}

output "credential_files" {
  description = "Paths of the credentials files by name."
  value       = { for name, file in terraform_data.credential : name => file.output }
}

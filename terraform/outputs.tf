output "env_file" {
  description = "Path of the settings file."
  value       = module.files.env_file
}

output "compose_file" {
  description = "Path of the generated compose file."
  value       = module.files.compose_file
}

output "credential_files" {
  description = "Paths of the credentials by name, mode 0600."
  value       = module.files.credential_files
}

output "user_data" {
  description = "The machine's cloud-init user data; null until package_sha256 is given."
  value       = one(module.vm[*].user_data)
}

output "tags" {
  description = "Tags for everything that belongs to this environment."
  value       = module.environment.tags
}

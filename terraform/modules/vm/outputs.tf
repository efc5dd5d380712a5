output "user_data" {
  description = "The cloud-init user data. No secret is in it, only how the machine asks for one. Providers take 16 KiB or more."
  value       = local.user_data

  precondition {
    condition     = length(local.user_data) <= 16384
    error_message = "The user data has over 16 KiB, which providers refuse: leave out settings that have their default."
  }
}

output "tags" {
  description = "Tags for the machine and its volume."
  value       = var.tags
}

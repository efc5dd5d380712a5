module "service" {
  source = "../.."

  environment = "production"

  automatic_reboot = "03:30"

  settings = {
    LOGIN_LOCKOUT_FAILURES = "10"
    SCHEDULE_RETENTION     = "0 0 * * *"
  }

  image            = var.image
  package_url      = var.package_url
  package_path     = var.package_path
  package_sha256   = var.package_sha256
  credentials      = var.credentials
  data_device      = var.data_device
  secret_command   = var.secret_command
  output_directory = var.output_directory

  tags = {
    cost-centre = "production"
    data-class  = "personal"
  }
}

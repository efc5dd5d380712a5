module "service" {
  source = "../.."

  environment = "development"

  settings = {
    LOG_LEVEL = "DEBUG"
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
    cost-centre = "dev"
    data-class  = "test-data"
  }
}

# One environment of the service: its settings and credentials as files, a compose file that uses them, and the user
# data of its machine. environments/* call this with their values; by hand, with the state beside it:
# terraform apply -var environment=staging

module "environment" {
  source = "./modules/environment"

  app_name              = var.app_name
  environment           = var.environment
  app_port              = var.app_port
  https_port            = var.https_port
  http_port             = var.http_port
  instances             = var.instances
  workers               = var.workers
  settings              = var.settings
  credentials           = var.credentials
  credentials_directory = "${local.directory}/${local.credentials_folder}"
  tags                  = var.tags
}

# The machine's service manager knows where its ports, data and credentials are: settings of its own.
module "machine_environment" {
  source = "./modules/environment"

  app_name    = var.app_name
  environment = var.environment
  app_port    = var.app_port
  https_port  = 443
  http_port   = 80
  instances   = var.instances
  workers     = var.workers
  settings    = var.settings
  tags        = var.tags
}

module "vm" {
  source = "./modules/vm"
  count  = var.package_sha256 == "" ? 0 : 1

  hostname         = "${var.app_name}-${var.environment}"
  settings_content = module.machine_environment.settings_content
  package_url      = var.package_url
  package_path     = var.package_path
  package_sha256   = var.package_sha256
  data_device      = var.data_device
  secret_names     = var.secret_names
  secret_command   = var.secret_command
  extra_packages   = var.extra_packages
  automatic_reboot = var.automatic_reboot
  tags             = module.environment.tags
}

locals {
  directory          = abspath(coalesce(var.output_directory, "${path.root}/generated"))
  credentials_folder = "credentials.${var.environment}"
}

module "files" {
  source = "./modules/files"

  directory          = local.directory
  env_file_name      = module.environment.env_file_name
  env_file_content   = module.environment.env_file_content
  credentials_folder = local.credentials_folder
  credential_names   = module.environment.credential_names
  credentials        = module.environment.credentials
  mode               = module.environment.credential_mode
  compose_file_name  = "docker-compose.generated.yml"
  compose_content = templatefile("${path.module}/templates/docker-compose.yml.tpl", {
    app_name    = var.app_name
    environment = var.environment
    image       = var.image
    env_file    = "${local.directory}/${module.environment.env_file_name}"
    services    = ["sentiment_migrate", "sentiment_models", "sentiment_api1", "sentiment_api2", "sentiment_celery_worker"]
    settings    = module.environment.shared_settings
    credentials = { for name in module.environment.credential_names : name => "${local.directory}/${local.credentials_folder}/${name}" }
    tags        = module.environment.tags
  })
}

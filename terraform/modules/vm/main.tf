# The first boot of a machine, for any provider that speaks cloud-init: the user data that turns a bare Debian into a
# running service. What is done there is files/bootstrap.sh; this only renders its parameters and the files around it.

terraform {
  required_version = ">= 1.10"
}

locals {
  # Within single quotes a shell takes everything but a single quote for itself.
  parameters = {
    PACKAGE_URL     = var.package_url
    PACKAGE_PATH    = var.package_path
    PACKAGE_SHA256  = var.package_sha256
    DATA_DEVICE     = var.data_device
    DATA_DIRECTORY  = var.data_directory
    DATA_FILESYSTEM = var.data_filesystem
    SECRET_NAMES    = join(" ", var.secret_names)
    SECRET_COMMAND  = var.secret_command
    HEALTH_URL      = var.health_url
  }
  parameter_lines = [for name, value in local.parameters : "${name}='${replace(value, "'", "'\\''")}'"]

  automatic_upgrades = <<-EOT
    // Security updates alone, every day, by themselves; the service's own package comes with a deploy.
    APT::Periodic::Update-Package-Lists "1";
    APT::Periodic::Unattended-Upgrade "1";
    Unattended-Upgrade::Origins-Pattern { "origin=Debian,codename=$${distro_codename},label=Debian-Security"; "origin=Debian,codename=$${distro_codename}-security,label=Debian-Security"; };
    Unattended-Upgrade::Automatic-Reboot "${var.automatic_reboot != "" ? "true" : "false"}";
    ${var.automatic_reboot != "" ? "Unattended-Upgrade::Automatic-Reboot-Time \"${var.automatic_reboot}\";" : ""}
  EOT

  cloud_config = {
    hostname          = var.hostname
    preserve_hostname = false
    disable_root      = true
    ssh_pwauth        = false
    package_update    = true
    package_upgrade   = true
    packages          = concat(["ca-certificates", "curl", "unattended-upgrades"], var.extra_packages)

    write_files = [
      {
        path        = "/etc/appcore/appcore.env"
        owner       = "root:root"
        permissions = "0640"
        content     = var.settings_content
      },
      {
        path        = "/etc/appcore/bootstrap.conf"
        owner       = "root:root"
        permissions = "0600"
        content     = "${join("\n", local.parameter_lines)}\n"
      },
      {
        path        = "/etc/apt/apt.conf.d/52appcore-upgrades"
        owner       = "root:root"
        permissions = "0644"
        content     = local.automatic_upgrades
      },
      {
        path        = "/usr/local/sbin/appcore-bootstrap"
        owner       = "root:root"
        permissions = "0755"
        content     = file("${path.module}/files/bootstrap.sh")
      },
    ]

    runcmd = [["/usr/local/sbin/appcore-bootstrap"]]

    final_message = "appcore: cloud-init took $UPTIME seconds; /var/log/appcore-bootstrap.log says how it went."
  }

  user_data = "#cloud-config\n# ${join(", ", [for name, value in var.tags : "${name}=${value}"])}\n${yamlencode(local.cloud_config)}"
}

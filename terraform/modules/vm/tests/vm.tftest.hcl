variables {
  hostname         = "appcore-staging"
  settings_content = "ENVIRONMENT=staging\n"
  package_url      = "https://packages.example/appcore_1.0.0_amd64.deb"
  package_sha256   = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
}

run "user_data" {
  command = plan

  variables {
    data_device      = "/dev/disk/by-id/virtio-data"
    secret_command   = "store read --field 'value' appcore/$NAME"
    automatic_reboot = "03:30"
    tags             = { environment = "staging" }
  }

  assert {
    condition     = startswith(output.user_data, "#cloud-config\n") && can(yamldecode(output.user_data))
    error_message = "The user data is YAML with cloud-init's first line."
  }

  assert {
    condition     = yamldecode(output.user_data)["runcmd"] == [["/usr/local/sbin/appcore-bootstrap"]] && contains(yamldecode(output.user_data)["packages"], "unattended-upgrades")
    error_message = "The bootstrap runs, and security updates are installed."
  }

  assert {
    condition     = strcontains(yamldecode(output.user_data)["write_files"][1]["content"], "SECRET_COMMAND='store read --field '\\''value'\\'' appcore/$NAME'\n")
    error_message = "A command with single quotes arrives as it is."
  }

  assert {
    condition     = yamldecode(output.user_data)["write_files"][0]["content"] == "ENVIRONMENT=staging\n" && yamldecode(output.user_data)["write_files"][3]["content"] == file("./files/bootstrap.sh")
    error_message = "The settings and the script arrive as they are."
  }

  assert {
    condition     = strcontains(yamldecode(output.user_data)["write_files"][2]["content"], "Automatic-Reboot-Time \"03:30\"")
    error_message = "The time of a reboot is the one that was given."
  }
}

run "a_package_on_the_machine" {
  command = plan
  variables {
    package_url  = ""
    package_path = "/media/appcore.deb"
  }

  assert {
    condition     = strcontains(output.user_data, "PACKAGE_PATH='/media/appcore.deb'")
    error_message = "The package's path is handed on."
  }
}

run "two_packages" {
  command = plan
  variables {
    package_path = "/media/appcore.deb"
  }
  expect_failures = [var.package_url]
}

run "a_package_without_tls" {
  command = plan
  variables {
    package_url = "http://packages.example/appcore.deb"
  }
  expect_failures = [var.package_url]
}

run "no_checksum" {
  command = plan
  variables {
    package_sha256 = "abc"
  }
  expect_failures = [var.package_sha256]
}

run "a_secret_command_without_a_name" {
  command = plan
  variables {
    secret_command = "store read appcore"
  }
  expect_failures = [var.secret_command]
}

run "a_device_that_is_none" {
  command = plan
  variables {
    data_device = "sdb; reboot"
  }
  expect_failures = [var.data_device]
}

run "user_data_that_no_provider_takes" {
  command = plan
  variables {
    settings_content = format("ENVIRONMENT=staging\n# %s\n", join("", [for n in range(1000) : "sixteen letters."]))
  }
  expect_failures = [output.user_data]
}

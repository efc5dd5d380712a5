# No provider is needed: the module computes.

run "staging_by_default" {
  command = plan

  assert {
    condition     = output.env_file_name == ".env.staging"
    error_message = "The settings file is named after its environment."
  }

  assert {
    condition = join("\n", slice(split("\n", output.env_file_content), 1, 5)) == join("\n", [
      "APP_NAME=practical-production-service", "ENVIRONMENT=staging", "APP_PORT=8000", "LOG_LEVEL=INFO"
    ])
    error_message = "The four lines of the contract, first and in this order."
  }

  assert {
    condition     = output.credential_mode == "0600" && length(output.credential_names) == 0
    error_message = "No credentials are made up, and theirs is mode 0600."
  }
}

run "production_logs_warnings" {
  command = plan

  variables {
    environment = "production"
    app_port    = 9000
  }

  assert {
    condition     = output.env_file_name == ".env.production" && strcontains(output.env_file_content, "\nLOG_LEVEL=WARNING\n") && strcontains(output.env_file_content, "\nAPP_PORT=9000\n")
    error_message = "Production has its own file, its port and the level WARNING."
  }

  assert {
    condition     = output.tags == { application = "practical-production-service", environment = "production", managed-by = "terraform" }
    error_message = "Three tags are always there."
  }
}

run "credentials_are_named_and_not_shown" {
  command = plan

  variables {
    credentials           = { api_key = "0123456789abcdef", secret_key = "0123456789abcdef0123456789abcdef" }
    credentials_directory = "/srv/credentials"
    settings              = { RATE_LIMIT_PER_MINUTE = "50" }
    tags                  = { owner = "payments" }
  }

  assert {
    condition     = strcontains(output.env_file_content, "\nRATE_LIMIT_PER_MINUTE=50\n") && strcontains(output.env_file_content, "\nAPI_KEY_FILE=/srv/credentials/api_key\nSECRET_KEY_FILE=/srv/credentials/secret_key\n")
    error_message = "The settings file names the credentials' files."
  }

  assert {
    condition     = !strcontains(output.env_file_content, "0123456789abcdef") && !strcontains(output.settings_content, "_FILE=")
    error_message = "No secret stands in a settings file, and the machine's does not name the files."
  }

  assert {
    condition     = output.tags["owner"] == "payments" && output.tags["managed-by"] == "terraform"
    error_message = "Tags are added to those that are always there."
  }
}

run "an_unknown_environment" {
  command = plan
  variables {
    environment = "prod"
  }
  expect_failures = [var.environment]
}

run "a_port_that_is_none" {
  command = plan
  variables {
    app_port = 65536
  }
  expect_failures = [var.app_port]
}

run "a_port_that_an_instance_has" {
  command = plan
  variables {
    app_port   = 8442
    https_port = 8443
  }
  expect_failures = [var.https_port]
}

run "production_with_one_instance" {
  command = plan
  variables {
    environment = "production"
    instances   = 1
  }
  expect_failures = [var.instances]
}

run "a_value_with_a_line_break" {
  command = plan
  variables {
    settings = { CORS_ORIGINS = "https://a.example\nAPI_KEY=x" }
  }
  expect_failures = [var.settings]
}

run "a_secret_in_the_settings" {
  command = plan
  variables {
    settings = { API_KEY = "0123456789abcdef" }
  }
  expect_failures = [var.settings]
}

run "a_password_in_a_url" {
  command = plan
  variables {
    settings = { DATABASE_URL = "postgresql://appcore:secret@db.example/appcore" }
  }
  expect_failures = [var.settings]
}

run "a_setting_that_is_a_variable" {
  command = plan
  variables {
    settings = { INSTANCES = "4" }
  }
  expect_failures = [var.settings]
}

run "a_credential_nobody_knows" {
  command = plan
  variables {
    credentials = { apikey = "0123456789abcdef" }
  }
  expect_failures = [var.credentials]
}

run "a_short_secret_key" {
  command = plan
  variables {
    credentials = { secret_key = "short" }
  }
  expect_failures = [var.credentials]
}

run "the_key_of_development_elsewhere" {
  command = plan
  variables {
    credentials = { api_key = "dev-key-change-in-production" }
  }
  expect_failures = [var.credentials]
}

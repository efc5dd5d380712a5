variable "app_name" {
  description = "Name of the service: part of its logs, its metrics and its tags."
  type        = string
  default     = "practical-production-service"
  nullable    = false

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,62}$", var.app_name))
    error_message = "app_name wants 2 to 63 lower-case letters, digits and hyphens, a letter first."
  }
}

variable "environment" {
  description = "development, staging or production: the suffix of the settings file, and what the service allows."
  type        = string
  default     = "staging"
  nullable    = false

  validation {
    condition     = contains(["development", "staging", "production"], var.environment)
    error_message = "environment is development, staging or production."
  }
}

variable "app_port" {
  description = "Port of the direct listener, on loopback; the ports after it belong to one instance each."
  type        = number
  default     = 8000
  nullable    = false

  validation {
    condition     = var.app_port == floor(var.app_port) && var.app_port >= 1 && var.app_port <= 65535
    error_message = "app_port is a whole number from 1 to 65535."
  }

  validation {
    condition     = var.app_port + var.instances <= 65535
    error_message = "app_port plus instances is above 65535: each instance has a port after app_port."
  }
}

variable "https_port" {
  description = "Port of HTTPS."
  type        = number
  default     = 8443
  nullable    = false

  validation {
    condition     = var.https_port == floor(var.https_port) && var.https_port >= 1 && var.https_port <= 65535
    error_message = "https_port is a whole number from 1 to 65535."
  }

  validation {
    condition     = var.https_port != var.http_port && (var.https_port < var.app_port || var.https_port > var.app_port + var.instances)
    error_message = "https_port is another than http_port and lies outside of app_port to app_port plus instances."
  }
}

variable "http_port" {
  description = "Port of HTTP, which only redirects to HTTPS."
  type        = number
  default     = 8080
  nullable    = false

  validation {
    condition     = var.http_port == floor(var.http_port) && var.http_port >= 1 && var.http_port <= 65535
    error_message = "http_port is a whole number from 1 to 65535."
  }

  validation {
    condition     = var.http_port < var.app_port || var.http_port > var.app_port + var.instances
    error_message = "http_port lies outside of app_port to app_port plus instances."
  }
}

variable "instances" {
  description = "Processes that answer requests; two at least, so that one can be restarted under load."
  type        = number
  default     = 2
  nullable    = false

  validation {
    condition     = var.instances == floor(var.instances) && var.instances >= 1 && var.instances <= 32
    error_message = "instances is a whole number from 1 to 32."
  }

  validation {
    condition     = var.environment != "production" || var.instances >= 2
    error_message = "production wants 2 instances at least: with one, every restart is an outage."
  }
}

variable "workers" {
  description = "Processes that run background tasks."
  type        = number
  default     = 1
  nullable    = false

  validation {
    condition     = var.workers == floor(var.workers) && var.workers >= 0 && var.workers <= 32
    error_message = "workers is a whole number from 0 to 32."
  }
}

variable "settings" {
  description = "More settings, by the names that .env.example lists. No secrets: those are credentials."
  type        = map(string)
  default     = {}
  nullable    = false

  validation {
    condition     = alltrue([for name in keys(var.settings) : can(regex("^[A-Z][A-Z0-9_]*$", name))])
    error_message = "settings are named in capitals, as .env.example does it: RATE_LIMIT_PER_MINUTE."
  }

  # What a shell, systemd and the service itself read alike.
  validation {
    condition = alltrue([
      for value in values(var.settings) : can(regex("^[^\\x00-\\x1f\"'`$\\\\#]*$", value)) && trimspace(value) == value
    ])
    error_message = "A value of settings has a line break, quotes, $, #, a backslash, or a blank at an end: it would not arrive as it is."
  }

  validation {
    condition = length(setintersection(keys(var.settings), [
      "APP_NAME", "ENVIRONMENT", "APP_PORT", "DIRECT_PORT", "HTTPS_PORT", "HTTP_PORT", "INSTANCES", "WORKERS"
    ])) == 0
    error_message = "A setting that has a variable of its own (APP_NAME, ENVIRONMENT, ports, INSTANCES, WORKERS) is set there."
  }

  validation {
    condition = alltrue([
      for name in keys(var.settings) : !can(regex("(^|_)(PASSWORD|SECRET|SECRET_KEY|SECRET_KEY_PREVIOUS|API_KEY|TOKEN)(_FILE)?$|^REDIS_URL", name))
      ]) && alltrue([
      for value in values(var.settings) : !can(regex("://[^/@]*:[^/@]+@", value))
    ])
    error_message = "A secret (a key, a password, a URL with a password) stands in settings: give it in credentials."
  }
}

variable "credentials" {
  description = "Secrets by the names of their settings in lower case, for a machine that no secret store serves. They are in the state: leave this empty where the machine fetches them by itself (modules/vm)."
  type        = map(string)
  default     = {}
  nullable    = false
  sensitive   = true

  validation {
    condition     = length(setsubtract(keys(var.credentials), ["api_key", "secret_key", "secret_key_previous", "database_url", "database_read_url", "postgres_password", "redis_url"])) == 0
    error_message = "credentials are api_key, secret_key, secret_key_previous, database_url, database_read_url, postgres_password and redis_url."
  }

  validation {
    condition     = alltrue([for value in values(var.credentials) : can(regex("^[\\x21-\\x7e]+$", value))])
    error_message = "A credential is empty, or has blanks, line breaks or letters beyond ASCII."
  }

  validation {
    condition     = alltrue([for name, value in var.credentials : length(value) >= 32 if startswith(name, "secret_key")])
    error_message = "secret_key wants 32 characters at least: openssl rand -base64 48."
  }

  validation {
    condition     = var.environment != "production" || alltrue([for name, value in var.credentials : length(value) >= 16 if name == "api_key"])
    error_message = "api_key wants 16 characters at least in production: openssl rand -hex 24."
  }

  validation {
    condition     = var.environment == "development" || lookup(var.credentials, "api_key", "") != "dev-key-change-in-production"
    error_message = "api_key is the one of development: make one of your own, openssl rand -hex 24."
  }
}

variable "credentials_directory" {
  description = "Where the service finds the files of the credentials, as the settings file names them."
  type        = string
  default     = "/etc/appcore/credentials"
  nullable    = false

  validation {
    condition     = can(regex("^/[A-Za-z0-9._/+-]+[^/]$", var.credentials_directory))
    error_message = "credentials_directory is an absolute path of letters, digits and . _ / + -, without a slash at its end."
  }
}

variable "tags" {
  description = "Tags beside application, environment and managed-by, which are always there."
  type        = map(string)
  default     = {}
  nullable    = false

  validation {
    condition     = alltrue([for name, value in var.tags : can(regex("^[a-z][a-z0-9-]{0,62}$", name)) && can(regex("^[A-Za-z0-9 _.:/=+@-]{0,255}$", value))])
    error_message = "Tags are named in lower case (a letter first, then letters, digits, hyphens); values have letters, digits, blanks and _ . : / = + @ -."
  }
}

# Locking of the state without a second service (environments/*/backend.hcl) is what 1.10 is for.
terraform {
  required_version = ">= 1.10"

  required_providers {
    local = {
      source  = "hashicorp/local"
      version = "~> 2.0"
    }
  }
}

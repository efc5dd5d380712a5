# terraform init -backend-config=backend.hcl -backend-config=bucket=NAME; any store that speaks S3 and knows If-None-Match.
key          = "appcore/staging/terraform.tfstate"
region       = "eu-central-1"
encrypt      = true
# A lock is an object beside the state: two applies at once, and the second is told who is at it.
use_lockfile = true

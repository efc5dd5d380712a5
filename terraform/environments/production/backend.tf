# The rest of it is in backend.hcl and, for the bucket, on the command line: docs in terraform/README.md.
terraform {
  required_version = ">= 1.10"

  backend "s3" {}
}

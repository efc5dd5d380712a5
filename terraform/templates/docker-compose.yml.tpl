# ${app_name}, ${environment}. Written by Terraform: change terraform/templates/docker-compose.yml.tpl.
# Over the services of the repository's compose file: which image, which settings, which secrets.
#   docker compose --env-file ${env_file} -f docker-compose.yml -f docker-compose.generated.yml up -d
x-service: &service
  image: ${image}
  labels:
%{ for name, value in tags ~}
    ${name}: ${jsonencode(value)}
%{ endfor ~}
  environment: &settings
%{ for name, value in settings ~}
    ${name}: ${replace(jsonencode(value), "$", "$$")}
%{ endfor ~}

services:
%{ for name in services ~}
  ${name}:
    <<: *service
%{ endfor ~}
  sentiment_nginx:
    environment: *settings
%{ if length(credentials) > 0 ~}

secrets:
%{ for name, path in credentials ~}
  ${name}:
    file: ${path}
%{ endfor ~}
%{ endif ~}

#!/usr/bin/env bash
# health_check.sh [URL] [MAX_RETRIES] [RETRY_DELAY]: waits until the service is healthy; 1 when it does not become so.
set -u

url=${1:-http://localhost:8000}
max_retries=${2:-10}
retry_delay=${3:-3}

# A certificate of one's own is fine here: this asks whether the service answers, not who it is.
answers() { curl -sf -k -m 5 -o /dev/null "$url$1"; }

echo "Health checking $url (max $max_retries attempts)..."
for ((attempt = 1; attempt <= max_retries; attempt++)); do
	if answers /health; then
		echo "✓ Service is healthy (attempt $attempt)"
		for path in /version /metrics; do
			if answers "$path"; then echo "  ✓ $path OK"; fi
		done
		exit 0
	fi
	echo "  Attempt $attempt/$max_retries — waiting ${retry_delay}s..."
	sleep "$retry_delay"
done
echo "✗ Service failed health check after $max_retries attempts"
exit 1

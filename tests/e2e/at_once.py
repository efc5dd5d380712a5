"""at_once.py URL KEY N: the same POST with the same Idempotency-Key N times at the same moment, on N connections."""
import http.client
import sys
import threading
import urllib.parse


def main() -> int:
    url, key, n = urllib.parse.urlsplit(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    barrier = threading.Barrier(n)
    answers = []

    def ask() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", url.port, timeout=120)
        connection.connect()
        barrier.wait()
        headers = {"X-API-Key": key, "Content-Type": "application/json", "Idempotency-Key": "all-at-once"}
        connection.request("POST", "/predict", b'{"features":[424242.25]}', headers)
        answer = connection.getresponse()
        answers.append((answer.status, answer.read()))

    threads = [threading.Thread(target=ask) for _ in range(n)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    statuses = sorted({status for status, _ in answers})
    bodies = {body for status, body in answers if status == 201}
    if len(answers) == n and statuses in ([201], [201, 409]):
        print(f"statuses [201, 409] or [201]; {len(bodies)} answer")
    else:
        print(f"statuses {statuses} of {len(answers)}; {len(bodies)} answers")
    return 0


if __name__ == "__main__":
    sys.exit(main())

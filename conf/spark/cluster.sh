#!/usr/bin/env bash
# A real standalone cluster on this machine from the pip wheel: one master, two workers of CLUSTER_CORES (1) cores each.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
port=${CLUSTER_PORT:-7177}
# One folder a port, so that two clusters never stop each other.
state="$root/.cache/cluster-$port"
master="spark://127.0.0.1:$port"
export PATH="$root/.venv/bin:$PATH" PYSPARK_PYTHON="$root/.venv/bin/python" SPARK_NO_DAEMONIZE=1
SPARK_HOME=$("$root/.venv/bin/python" -c "import os, pyspark; print(os.path.dirname(pyspark.__file__))")
export SPARK_HOME

launch() { # name, class and arguments
  local name=$1
  shift
  setsid nohup "$SPARK_HOME/bin/spark-class" "$@" >"$state/$name.log" 2>&1 &
  echo $! >"$state/$name.pid"
}

wait_for() { # text, file
  for _ in $(seq 60); do
    grep -q "$1" "$2" 2>/dev/null && return 0
    sleep 0.5
  done
  echo "the cluster did not come up; the end of $2:" >&2
  tail -5 "$2" >&2
  exit 30
}

case "${1:-}" in
start)
  mkdir -p "$state"
  # --webui-port 0: any free port, so that two clusters never collide.
  launch master org.apache.spark.deploy.master.Master --host 127.0.0.1 --port "$port" --webui-port 0
  wait_for "I have been elected leader" "$state/master.log"
  for worker in 1 2; do
    launch "worker$worker" org.apache.spark.deploy.worker.Worker --host 127.0.0.1 --webui-port 0 -c "${CLUSTER_CORES:-1}" -m 2g -d "$state/work$worker" "$master"
    wait_for "Successfully registered with master" "$state/worker$worker.log"
  done
  echo "$master"
  ;;
stop)
  for file in "$state"/*.pid; do
    [ -e "$file" ] || continue
    kill -- "-$(cat "$file")" 2>/dev/null || true
    rm -f "$file"
  done
  ;;
*)
  echo "usage: $0 start|stop" >&2
  exit 2
  ;;
esac

#!/usr/bin/env bash
# Go 1.26: a signal that is blocked over execve(2) does not wait for a Go program.
#
# execve keeps the mask and what is pending, so blocking signals should carry them over an execution to the handlers of the
# next image. A Go program does not inherit the mask for HUP, INT, QUIT, ABRT and TERM: the runtime unblocks them on its first thread
# (blockableSig in runtime/signal_unix.go) before it has installed its handlers and long before any code of the program. So a pending
# TERM ends it; one that is ignored, too, is dropped. Others (USR1) stay blocked and pending, which no option changes.
#
# Where it bears on zinit: an upgrade in place holds signals back by a tracer, and says where it may not (docs/survival.md).
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cat >"$dir/main.go" <<'GO'
package main

import "os"

func main() {
	b, _ := os.ReadFile("/proc/self/status")
	for i := 0; i+7 < len(b); i++ {
		if string(b[i:i+7]) == "ShdPnd:" {
			os.Stdout.WriteString("runs, pending " + string(b[i+8:i+24]) + "\n")
		}
	}
}
GO
export CGO_ENABLED=0 GOTOOLCHAIN=go1.26.8
go version
go build -o "$dir/program" "$dir/main.go"
try() { # signal, action
	python3 - "$dir/program" "$1" "$2" <<'PY' || echo "$1 $2: ended by signal $(($? - 128))"
import os, signal, sys
number = getattr(signal, sys.argv[2])
if sys.argv[3] == "ignored":
    signal.signal(number, signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_BLOCK, [number])
os.kill(os.getpid(), number)
sys.stdout.write(sys.argv[2] + " " + sys.argv[3] + ": ")
sys.stdout.flush()
os.execv(sys.argv[1], [sys.argv[1]])
PY
}
seen=$(try SIGTERM default 2>/dev/null; try SIGTERM ignored; try SIGUSR1 default)
echo "$seen"
expected='SIGTERM default: SIGTERM default: ended by signal 15
SIGTERM ignored: runs, pending 0000000000000000
SIGUSR1 default: runs, pending 0000000000000200'
[ "$seen" = "$expected" ] || { echo "changed: expected"; echo "$expected"; exit 1; }
echo "as found: TERM does not wait for a handler, USR1 does"

#!/usr/bin/env bash
# golang.org/x/sys v0.49.0: unix.Tee says a wrong number of bytes on 32-bit x86.
#
# unix.Tee returns an int64 and, where a register has 32 bits, puts it together from two of them. tee(2) returns a ssize_t, which is
# one register; the second still holds what the program put there before the call: on 386 the third argument, the length asked for.
# So with 2 bytes in the pipe and room for 16 the answer is 16 * 2^32 + 2 instead of 2. On 64-bit machines it is 2.
#
# Where it bears on zinit: internal/tee makes the call itself; a short last line ended the server on 386.
# Needs a kernel that runs 386 programs.
set -euo pipefail
version=v0.49.0
dir=$(mktemp -d)
trap 'chmod -R u+w "$dir"; rm -rf "$dir"' EXIT
cd "$dir"
export GOFLAGS=-mod=mod GOMODCACHE="$dir/mod" CGO_ENABLED=0
cat >main.go <<'GO'
package main

import (
	"fmt"
	"runtime"

	"golang.org/x/sys/unix"
)

func main() {
	var from, to [2]int
	for _, p := range []*[2]int{&from, &to} {
		if err := unix.Pipe2(p[:], 0); err != nil {
			panic(err)
		}
	}
	unix.Write(from[1], []byte("ab"))
	n, err := unix.Tee(from[0], to[1], 16, 0)
	b := make([]byte, 16)
	really, _ := unix.Read(to[0], b)
	fmt.Println(runtime.GOARCH, "says", n, err, "copied", really)
}
GO
go mod init finding >/dev/null 2>&1
go get "golang.org/x/sys@$version" >/dev/null 2>&1
echo "golang.org/x/sys $version, $(uname -sr)"
seen=$(GOARCH=amd64 go run . && GOARCH=386 go run .)
echo "$seen"
expected='amd64 says 2 <nil> copied 2
386 says 68719476738 <nil> copied 2'
[ "$seen" = "$expected" ] || { echo "changed: expected"; echo "$expected"; exit 1; }
echo "as found: on 386 the length that was asked for is in the upper half"

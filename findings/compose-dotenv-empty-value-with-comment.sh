#!/usr/bin/env bash
# compose-go 2.16.2 (the reader of docker compose's .env files): a comment behind an empty value becomes the value.
#
# "A=x # c" is x, as the documentation of env files says: what follows a blank and a # is a comment. "A= # c" is not empty, though, but
# "# c": the blanks before the value are taken off first, and then there is no blank before the # any more. So a line that
# somebody has emptied and whose comment stayed sets the variable to the comment.
#
# Where it bears on zinit: env_file gives an empty value there (docs/config.md).
set -euo pipefail
version=v2.16.2
dir=$(mktemp -d)
trap 'chmod -R u+w "$dir"; rm -rf "$dir"' EXIT
cd "$dir"
export GOFLAGS=-mod=mod GOMODCACHE="$dir/mod"
cat >main.go <<'GO'
package main

import (
	"fmt"
	"strings"

	"github.com/compose-spec/compose-go/v2/dotenv"
)

func main() {
	for _, line := range []string{"A=x # c", "A= # c", "A=", "A='' # c"} {
		values, err := dotenv.ParseWithLookup(strings.NewReader(line+"\n"), nil)
		fmt.Printf("%-10s %q %v\n", line, values["A"], err)
	}
}
GO
go mod init finding >/dev/null 2>&1
go get "github.com/compose-spec/compose-go/v2@$version" >/dev/null 2>&1
echo "compose-go $version"
seen=$(go run .)
echo "$seen"
expected='A=x # c    "x" <nil>
A= # c     "# c" <nil>
A=         "" <nil>
A='"''"' # c   "" <nil>'
[ "$seen" = "$expected" ] || { echo "changed: expected"; echo "$expected"; exit 1; }
echo "as found: the comment is the value"

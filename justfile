# Daily recipes. CI (.ci/run) does not need just.

flags := "-trimpath -tags urfave_cli_no_docs -ldflags '-s -w'"

# the static binary, in dist/
build:
    CGO_ENABLED=0 go build {{flags}} -o dist/zinit .

# everything that needs no root, kernel or daemon, and all that finds its prerequisites
test *ARGS:
    go test ./... {{ARGS}}

# random worlds until stopped; `just sim 42` runs one seed
sim SEED="":
    @if [ -n "{{SEED}}" ]; then go test ./supervisor/sim -run TestSeeds -seeds=1 -seed={{SEED}} -v; \
    else n=$(date +%s); while go test ./supervisor/sim -run TestSeeds -seeds=200000 -seed=$n; do n=$((n+200000)); done; fi

# one fuzz target: `just fuzz ./rpc FuzzServer 30s`
fuzz PKG NAME TIME="10s":
    go test {{PKG}} -run '^$' -fuzz '^{{NAME}}$' -fuzztime {{TIME}}

# CLI scripts, all or one: `just script json`; UPDATE_SCRIPTS=1 writes what they compare with
script NAME="" *ARGS:
    go test . -run 'TestScript/{{NAME}}' {{ARGS}}

# real daemons, namespaces, survival
e2e *ARGS:
    go test ./test/... {{ARGS}}

# QEMU
boot *ARGS:
    go test ./test/boot -v {{ARGS}}

# benchmarks, one at a time on this machine
bench PKG="./..." *ARGS:
    flock /tmp/zinit-bench.lock go test {{PKG}} -run '^$' -bench . -benchmem {{ARGS}}

# workloads W1 to W9 beside their floors, as a table; `just workloads -bench-only W1,W3 -bench-repeat 3 -peer dinit=PATH -bench-json FILE`
workloads *ARGS:
    flock /tmp/zinit-bench.lock go test ./test/bench -run TestWorkloads -v -timeout 30m -bench-workloads {{ARGS}}

# the recorded exchanges of zinit 0.3.9
conform *ARGS:
    go test ./rpc/conform -v {{ARGS}}

# small faults in one package that its tests do not notice, beside those that testdata/mutants.txt names (needs root):
# `just mutate ./supervisor/journal`, `just mutate -match Convert ./supervisor/journal`, or with the tests of other packages too:
# `just mutate ./supervisor/machine ./supervisor/sim`
mutate *ARGS:
    nice go run ./internal/testkit/mutate {{ARGS}}

# docs/picture.svg from the real program: the commands of docs/picture.txt and what they print
picture: build
    go run ./internal/testkit/picture -zinit dist/zinit -o docs/picture.svg <docs/picture.txt

# build archives, packages and checksums in dist/ without publishing anything
release-dry:
    go run github.com/goreleaser/goreleaser/v2@v2.13.0 release --snapshot --clean

# linters beyond vet and staticcheck, and known vulnerabilities (asks the Go vulnerability database)
lint:
    go run github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0 run ./...
vuln:
    go run golang.org/x/vuln/cmd/govulncheck@v1.9.0 ./...

ci:
    bash .ci/run

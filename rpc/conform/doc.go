// Package conform replays recorded exchanges with zinit 0.3.9 (testdata/wire) against a server of ours and compares the
// answers structurally. What differs on purpose stands in testdata/conform/DIFFERENCES.md with an id and a reason; every
// other hard difference fails a test. It is test support and imports nothing of the server.
package conform

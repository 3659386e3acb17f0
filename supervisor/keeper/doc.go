// Package keeper is what lets the server die at any instant: its parent (pid1, a container's init, or `zinit pid1` as a
// plain subreaper) keeps the descriptors that must outlive it, remembers which processes it watches, and reports how those
// ended. Store is the parent's side, Client the server's.
//
// The two talk over a SOCK_SEQPACKET pair with SCM_RIGHTS. A message is a header and up to 100 entries of fixed size, never
// more than 16 KiB; a message that was sent keeps its descriptors even if its sender dies at once, so nothing is ever
// confirmed. A server, new or executed in place, says hello and is handed everything: after a crash and after an upgrade it
// walks the same path. The store trusts nothing it is sent: what is malformed or above a limit is dropped, its
// descriptors are closed, and it is counted.
//
// The package runs in process 1 and imports only x/sys/unix and a few leaves of the standard library.
package keeper

// Package logring keeps the last lines of every service in memory that outlives the server.
//
// An Arena is one memfd mapping. It holds, for each service that ever wrote, a chain of pages with its newest lines
// (the ring), the unfinished line of each log pipe, and the positions of those that read on (marks). Nothing that
// matters is only in private memory, so that after a SIGKILL of the server, at any instruction, Open rebuilds
// everything from the pages alone: no line is lost, none comes twice, sequence numbers go on.
//
// # Layout
//
//	superblock | intent | staging (64 KiB) | table (4 bytes a unit) | units of 1 KiB ...
//
// An extent is a run of units. Its entry in the table says its kind and length; a zero entry is a free unit or the
// inside of an extent. The table is apart from the text, so that nothing a service writes can look like structure.
// Kinds: a slab of 256-byte slots (ring heads, marks), a page of lines, a partial line. An extent exists from the
// store of its entry on, a line from the store of its page's commit word on: each is one aligned word, written after
// everything that it makes valid. What a killed process had stored by then is in memory in program order.
//
// # Reading a pipe without a window
//
// Begin writes an intent (which pipe, how many bytes, exactly what FIONREAD said) and a random canary into the last
// bytes of the region of staging that read(2) will fill; Finish turns the bytes into lines. After a crash the canary
// tells whether the read happened; lines already appended are recognised by the sequence number that the intent names
// as the first, and the rest is done again from staging. See intake.go.
//
// # Concurrency
//
// Writers take the arena's mutex once per read, not per line; it is held during a read(2) that cannot block. Readers take only
// the read lock of one ring, while they copy; they never hold up anybody for longer than copying a page takes.
// Followers are woken through a channel of one slot, and only by rings they watch: nothing written, nothing spent.
//
// # Bounds
//
// A ring holds at most Limits.Lines lines and Limits.Bytes bytes of pages (see Ring for the two exceptions), all rings together
// at most the arena's total. When the total is reached, the ring with the most bytes gives up its oldest page: a
// flood pays for itself, and a quiet service keeps its lines.
package logring

// Package journal keeps the state of the server where its death cannot reach it: in a memfd that the keeper holds too.
//
// The server appends what a step changed before it carries out the step's actions; its successor replays the file. An
// append is a copy into a shared mapping, payload first, then one 8-byte word with length and CRC-32C that makes it
// valid: a SIGKILL at any instruction leaves either the whole batch or none of it. A batch is atomic.
//
// Layout: page 0 holds two slots that name the active segment, the newer valid one counts. A segment is a run of frames:
//
//	commit word (payload length u32, CRC-32C u32 over sequence and payload), sequence u64, payload, padding to 8 bytes
//
// The payload is a list of entries (kind u8, key length u16, value length u32, key, value); a later entry of a kind and
// key replaces an earlier one, an entry of a deleting kind removes it. When a segment is full what is alive is copied to a
// new one beside it, the slot is switched and the old one is punched out of the file, so the file stays small.
//
// The version stands in the slot. Values are records of package record: what is missing is zero and what is not known is
// skipped, so releases read each other's both ways and only a change of meaning raises the version. A newer version is
// refused. A release that raises it goes on writing the older one in a journal that it took over, until its upgrade can no
// longer be taken back (60 s), and before an upgrade to an executable that reads no newer one: see Convert.
package journal

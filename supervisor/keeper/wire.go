package keeper

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// kind is the type of a message.
type kind uint8

// Messages of the server (1 to 63) and of the keeper (64 and up).
const (
	kHello     kind = 1  // nonce
	kFile      kind = 2  // name, path, one descriptor or none (none: drop it)
	kPipes     kind = 3  // entries with one descriptor each
	kDropPipe  kind = 4  // gen, stream
	kTrack     kind = 5  // pid, gen
	kUntrack   kind = 6  // pid
	kAck       kind = 7  // entries pid, start
	kBye       kind = 8  // reason, code
	kBudget    kind = 9  // nanoseconds
	kUpgrade   kind = 10 // path, one descriptor
	kEmergency kind = 11 // text
	kSettled   kind = 12 // nothing
	kBooted    kind = 13 // nothing

	kBegin   kind = 64 // nonce, fixed fields of Handover
	kText    kind = 65 // which, text
	kFiles   kind = 66 // as kFile
	kPipeSet kind = 67 // as kPipes
	kExits   kind = 68 // entries
	kTracked kind = 69 // entries pid, gen
	kEnd     kind = 70 // nonce
	kOrder   kind = 71 // order
)

// Header: magic, version, kind, number of entries, reserved.
const (
	headerSize = 8
	magic      = 0x4b5a // "ZK"
	pipeSize   = 16 + MaxName
	exitSize   = 64
	pairSize   = 16
)

var order = binary.LittleEndian

// frame is one message, being written or read. Reading past its end sets bad and yields zeros.
type frame struct {
	kind    kind
	version uint8
	count   int
	body    []byte
	at      int
	bad     bool
}

func newFrame(k kind, count int) *frame {
	f := &frame{kind: k, version: Version, count: count, body: make([]byte, headerSize, 256)}
	order.PutUint16(f.body, magic)
	f.body[2], f.body[3] = Version, byte(k)
	order.PutUint16(f.body[4:], uint16(count))
	return f
}

// parseFrame checks a message's header.
func parseFrame(b []byte) (*frame, error) {
	if len(b) < headerSize || order.Uint16(b) != magic {
		return nil, errFrame
	}
	f := &frame{version: b[2], kind: kind(b[3]), count: int(order.Uint16(b[4:])), body: b, at: headerSize}
	if f.count > maxEntries {
		return nil, errFrame
	}
	return f, nil
}

func (f *frame) put64(v uint64) { f.body = order.AppendUint64(f.body, v) }
func (f *frame) put32(v uint32) { f.body = order.AppendUint32(f.body, v) }

// putText writes a length and the text, cut to MaxPath.
func (f *frame) putText(s string) {
	if len(s) > MaxPath {
		s = s[:MaxPath]
	}
	f.body = order.AppendUint16(f.body, uint16(len(s)))
	f.body = append(f.body, s...)
}

// putName writes a name into a field of MaxName bytes, after its length, which the caller has written.
func (f *frame) putName(s string) {
	var field [MaxName]byte
	copy(field[:], s)
	f.body = append(f.body, field[:]...)
}

func (f *frame) take(n int) []byte {
	if f.bad || len(f.body)-f.at < n {
		f.bad = true
		return nil
	}
	b := f.body[f.at : f.at+n]
	f.at += n
	return b
}

func (f *frame) get64() uint64 {
	if b := f.take(8); b != nil {
		return order.Uint64(b)
	}
	return 0
}

func (f *frame) get32() uint32 {
	if b := f.take(4); b != nil {
		return order.Uint32(b)
	}
	return 0
}

func (f *frame) getText() string {
	b := f.take(2)
	if b == nil {
		return ""
	}
	n := int(order.Uint16(b))
	if n > MaxPath {
		f.bad = true
		return ""
	}
	return string(f.take(n))
}

// putPipe and getPipe: gen, stream, length of the name, 6 bytes of padding, name.
func (f *frame) putPipe(p *Pipe) {
	f.put64(p.Gen)
	f.body = append(f.body, p.Stream, byte(min(len(p.Service), MaxName)), 0, 0, 0, 0, 0, 0)
	f.putName(p.Service)
}

func (f *frame) getPipe() (p Pipe) {
	b := f.take(pipeSize)
	if b == nil {
		return p
	}
	n := int(b[9])
	if n > MaxName {
		f.bad = true
		return p
	}
	return Pipe{Gen: order.Uint64(b), Stream: b[8], Service: string(b[16 : 16+n]), FD: -1}
}

func (f *frame) putExit(e *Exit) {
	f.put64(uint64(e.PID))
	f.put64(e.Start)
	f.put64(e.Gen)
	f.put32(uint32(e.Code))
	f.put32(uint32(e.Signal))
	core := uint64(0)
	if e.Core {
		core = 1
	}
	f.put64(core)
	f.put64(e.seq)
	f.put64(e.Tag)
	f.put64(uint64(e.At))
}

func (f *frame) getExit() Exit {
	b := f.take(exitSize)
	if b == nil {
		return Exit{}
	}
	return Exit{
		PID: int(int64(order.Uint64(b))), Start: order.Uint64(b[8:]), Gen: order.Uint64(b[16:]),
		Code: int32(order.Uint32(b[24:])), Signal: int32(order.Uint32(b[28:])),
		Core: order.Uint64(b[32:])&1 != 0, seq: order.Uint64(b[40:]),
		Tag: order.Uint64(b[48:]), At: int64(order.Uint64(b[56:])),
	}
}

// send writes one message with descriptors; flags is MSG_DONTWAIT on the keeper's side. The descriptors stay the caller's.
func send(fd int, f *frame, fds []int, flags int) error {
	var rights []byte
	if len(fds) > 0 {
		rights = unix.UnixRights(fds...)
	}
	for {
		_, err := unix.SendmsgN(fd, f.body, rights, nil, flags|unix.MSG_NOSIGNAL)
		switch err {
		case unix.EINTR:
			continue
		case unix.EPIPE, unix.ECONNRESET, unix.ENOTCONN:
			return ErrGone
		}
		return err
	}
}

// mailbox holds the buffers for receiving, so that a steady stream of messages allocates nothing for them.
type mailbox struct {
	data   [MaxFrame]byte // what is longer is cut, and the kernel says so
	rights [rightsSize]byte
}

// rightsSize is the room for maxEntries descriptors (CMSG_SPACE): the kernel closes what is sent beyond.
const rightsSize = 16 + 4*maxEntries

// receive reads one message. The descriptors, never more than maxEntries, are close-on-exec and the caller's, also
// beside an error. The frame is valid until the next call.
func (m *mailbox) receive(fd int, flags int) (*frame, []int, error) {
	for {
		n, oobn, rflags, _, err := unix.Recvmsg(fd, m.data[:], m.rights[:], flags|unix.MSG_CMSG_CLOEXEC)
		if err == unix.EINTR {
			continue
		}
		if err == unix.ECONNRESET {
			err = ErrGone
		}
		if err != nil {
			return nil, nil, err
		}
		fds := rightsOf(m.rights[:oobn])
		if n == 0 && closed(fd) {
			return nil, fds, ErrGone
		}
		if rflags&unix.MSG_TRUNC != 0 {
			return nil, fds, errFrame
		}
		f, err := parseFrame(m.data[:n])
		return f, fds, err
	}
}

// closed tells the end of the connection from an empty message: both read as nothing.
func closed(fd int) bool {
	set := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLRDHUP}}
	if n, err := unix.Poll(set, 0); err == nil && n == 0 {
		return false
	}
	n, _, err := unix.Recvfrom(fd, nil, unix.MSG_PEEK|unix.MSG_DONTWAIT|unix.MSG_TRUNC)
	return err != nil || n == 0
}

// rightsOf collects the descriptors of all control messages.
func rightsOf(oob []byte) []int {
	var fds []int
	for len(oob) >= unix.SizeofCmsghdr {
		header, data, rest, err := unix.ParseOneSocketControlMessage(oob)
		if err != nil {
			break
		}
		if header.Level == unix.SOL_SOCKET && header.Type == unix.SCM_RIGHTS {
			for ; len(data) >= 4; data = data[4:] {
				fds = append(fds, int(int32(order.Uint32(data))))
			}
		}
		oob = rest
	}
	return fds
}

func closeAll(fds []int) {
	for _, fd := range fds {
		if fd >= 0 {
			_ = unix.Close(fd)
		}
	}
}

// Pair makes the two ends of a keeper connection, both close-on-exec. The keeper's end is non-blocking.
func Pair() (keeperEnd, serverEnd int, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, -1, err
	}
	if err := unix.SetNonblock(fds[0], true); err != nil {
		closeAll(fds[:])
		return -1, -1, err
	}
	return fds[0], fds[1], nil
}

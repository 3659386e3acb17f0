package supervisor

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/zinit/zinit/internal/anon"
	"github.com/zinit/zinit/supervisor/keeper"
)

// What one image of the server passes to the next travels in a file without a name whose descriptor stands in the
// environment: a variable of its own would be bounded by the kernel (128 KiB, MAX_ARG_STRLEN), which some 1,000 services
// reach. The file holds two JSON values, the connections and everything else; what a reader does not know it skips.
const (
	// handoverEnv names the descriptor of the file. Version 0.4.0 reads the first value only, and writes no more than that.
	handoverEnv = "ZINIT_CONNECTIONS"
	// inheritEnv is where 0.4.0 has the rest, as text. It is written as long as it fits, for one version back.
	inheritEnv = "ZINIT_INHERIT"
	// inheritText is how long that text may be, in bytes.
	inheritText = 96 << 10
)

// Connection is a client's on its way to the executable that replaces this one.
type Connection struct {
	FD      int
	Pending []byte // what was read from it and not yet handled
}

// inheritance is what a lone server leaves open for the executable that replaces it.
type inheritance struct {
	Listener, Arena, Journal, Lock int
	Syslog                         int
	Pipes                          []keeper.Pipe
}

// handedRest is the second value of the file.
type handedRest struct {
	Lone *inheritance `json:",omitempty"` // nil under a keeper, which hands over all that
}

func (in *inheritance) descriptors() []int {
	fds := []int{in.Listener, in.Arena, in.Journal, in.Lock, in.Syslog}
	for _, p := range in.Pipes {
		fds = append(fds, p.FD)
	}
	return fds
}

// passOn writes the file and leaves open what is named in it. in is nil under a keeper.
func (u *upgrade) passOn(conns []Connection, in *inheritance) (err error) {
	if conns == nil {
		conns = []Connection{}
	}
	first, err := json.Marshal(conns)
	if err != nil {
		return err
	}
	second, err := json.Marshal(handedRest{Lone: in})
	if err != nil {
		return err
	}
	if u.list, err = anon.File("zinit-handover"); err != nil {
		return fmt.Errorf("cannot hand over the state: %w", err)
	}
	file := append(append(first, '\n'), second...)
	if n, err := unix.Pwrite(u.list, file, 0); err != nil || n != len(file) {
		return fmt.Errorf("cannot hand over the state: %w (%d of %d bytes)", err, n, len(file))
	}
	fds := []int{u.list}
	for _, c := range conns {
		fds = append(fds, c.FD)
	}
	if in != nil {
		fds = append(fds, in.descriptors()...)
	}
	for _, fd := range fds {
		keep(fd)
	}
	env := map[string]string{handoverEnv: strconv.Itoa(u.list)}
	if in != nil {
		if text, err := json.Marshal(in); err == nil && len(text) <= inheritText {
			env[inheritEnv] = string(text)
		}
	}
	for name, value := range env {
		if err := os.Setenv(name, value); err != nil {
			return err
		}
	}
	return nil
}

// keep lets a descriptor stay open over an exec.
func keep(fd int) {
	if fd >= 0 {
		_, _ = unix.FcntlInt(uintptr(fd), unix.F_SETFD, 0)
	}
}

// forgetHandover takes the variables away: from a fresh image that has read them, and where there was no exec.
func forgetHandover() {
	os.Unsetenv(handoverEnv)
	os.Unsetenv(inheritEnv)
}

// Inherited is what the server that this process was before its exec passed on. Its descriptors are close-on-exec again.
type Inherited struct {
	Handover    *keeper.Handover // as a keeper would hand it over; nil under a keeper
	Lock        int              // descriptor of the control socket's lock, -1 = none
	Connections []Connection
}

// Inherit returns what the image before passed on; nil when this is a fresh process.
func Inherit() (*Inherited, error) {
	defer forgetHandover()
	in := &Inherited{Lock: -1}
	var rest handedRest
	if text := os.Getenv(handoverEnv); text != "" {
		fd, err := strconv.Atoi(text)
		if err != nil {
			return nil, fmt.Errorf("%s=%s is no descriptor", handoverEnv, text)
		}
		file := os.NewFile(uintptr(fd), "handover")
		defer file.Close()
		values := json.NewDecoder(io.NewSectionReader(file, 0, 1<<40))
		if err := values.Decode(&in.Connections); err != nil {
			return nil, fmt.Errorf("cannot read the connections of the image before: %w", err)
		}
		if err := values.Decode(&rest); err != nil && err != io.EOF {
			return nil, fmt.Errorf("cannot read the state of the image before: %w", err)
		}
	}
	if text := os.Getenv(inheritEnv); text != "" && rest.Lone == nil {
		if err := json.Unmarshal([]byte(text), &rest.Lone); err != nil {
			return nil, fmt.Errorf("cannot read %s: %w", inheritEnv, err)
		}
	}
	for _, c := range in.Connections {
		unix.CloseOnExec(c.FD)
	}
	if l := rest.Lone; l != nil {
		for _, fd := range l.descriptors() {
			if fd >= 0 {
				unix.CloseOnExec(fd)
			}
		}
		in.Lock = l.Lock
		in.Handover = &keeper.Handover{Listener: l.Listener, Arena: l.Arena, Journal: l.Journal, Pipes: l.Pipes, Mode: keeper.Plain}
		if l.Syslog >= 0 {
			in.Handover.Files = []keeper.File{{Name: keeperSyslog, FD: l.Syslog}}
		}
	}
	if in.Handover == nil && in.Connections == nil {
		return nil, nil
	}
	return in, nil
}

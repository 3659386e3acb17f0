package logfile

import (
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
)

// turnOver rotates. Where that fails the file goes on growing until it is opened the next time, and the error is
// reported: lines matter more than the bound.
func (w *writer) turnOver(s *source, c Config) {
	if err := w.rotate(c); err != nil {
		w.stuck = true
		s.fail(err)
		w.opt.Report(s.service, w.path, err, 0)
	}
}

// rotate moves PATH to PATH.1, that to PATH.2 and so on, keeping c.Keep of them. No batch is pending.
func (w *writer) rotate(c Config) error {
	w.mu.Lock()
	packed := w.packed
	w.mu.Unlock()
	if packed != nil {
		<-packed
	}
	if _, err := os.Lstat(w.path); errors.Is(err, fs.ErrNotExist) {
		w.closeFile() // somebody has moved it: open a new one
		return nil
	}
	if err := shift(w.path, c.Keep); err != nil {
		return fmt.Errorf("cannot rotate %s: %w", w.path, errors.Unwrap(err))
	}
	w.closeFile()
	if c.Gzip && c.Keep > 0 {
		w.pack()
	}
	return nil
}

// shift renames. Older files may be compressed or not, as gzip was set when they were made. It looks no further than the
// first number that is free, so that it costs what there is and not what is allowed; files beyond keep, of before it was
// lowered, are removed.
func shift(path string, keep int) error {
	if keep <= 0 {
		return os.Remove(path)
	}
	name := func(n int, suffix string) string { return fmt.Sprintf("%s.%d%s", path, n, suffix) }
	if _, err := os.Lstat(name(1, ".gz")); err == nil { // whole: the server died before it removed the original
		_ = os.Remove(name(1, ""))
	}
	older := 0
	for there(name(older+1, "")) || there(name(older+1, ".gz")) {
		older++
	}
	for n := older; n > 0; n-- {
		for _, suffix := range []string{"", ".gz"} {
			var err error
			if n >= keep {
				err = os.Remove(name(n, suffix))
			} else {
				err = os.Rename(name(n, suffix), name(n+1, suffix))
			}
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
	}
	return os.Rename(path, name(1, ""))
}

func there(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// pack compresses PATH.1 beside the writer. A failure leaves it as it is.
func (w *writer) pack() {
	done := make(chan struct{})
	w.mu.Lock()
	w.packed = done
	w.mu.Unlock()
	path := w.path + ".1"
	go func() {
		defer close(done)
		if err := compress(path, path+".gz"); err != nil {
			w.opt.Report("", path, fmt.Errorf("cannot compress %s: %w", path, err), 0)
		}
	}()
}

// compress writes from as to, whole or not at all, and removes from.
func compress(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	tmp := to + ".tmp"
	out, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o640)
	if err != nil {
		return err
	}
	z := gzip.NewWriter(out)
	_, err = io.Copy(z, in)
	if err = errors.Join(err, z.Close(), out.Close()); err == nil {
		err = os.Rename(tmp, to)
	}
	if err != nil {
		_ = os.Remove(tmp)
		return err
	}
	return os.Remove(from)
}

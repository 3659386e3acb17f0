package ship

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/zinit/zinit/logring"
)

// transport is one way to send batches. send returns nil when the batch is acknowledged.
type transport interface {
	// add encodes one line of a source into the batch.
	add(b *batch, src *source, rec *logring.Record)
	send(ctx context.Context, b *batch) error
	close()
}

// fate is what became of a connection.
type fate uint8

const (
	open   fate = iota // it is open, or there is none
	closed             // it has ended in order: what the other side's kernel had confirmed, its program has at least read
	reset              // the other side's kernel dropped what its program had not read
)

// connected is a transport over a connection whose acknowledgement is only that of the other side's kernel.
type connected interface {
	// fate tells what became of the connection; the end of one is told once.
	fate() fate
}

// retryError is a failure after which the other side asked to wait; 0 = it did not say.
type retryError struct {
	text  string
	after time.Duration
}

func (e *retryError) Error() string { return e.text }

// refusedError says that the batch itself is not wanted, and would not be later.
type refusedError struct{ text string }

func (e *refusedError) Error() string { return e.text }

// Check says what is wrong with a forward URL, nil when it can be used.
func Check(raw string) error {
	u, err := url.Parse(raw)
	if err != nil {
		return fmt.Errorf("cannot use forward URL: %w", err)
	}
	switch u.Scheme {
	case "http", "https":
		if u.Host == "" {
			return fmt.Errorf("cannot use forward URL %s: no host", u.Redacted())
		}
	case "tcp":
		if u.Hostname() == "" || u.Port() == "" {
			return fmt.Errorf("cannot use forward URL %s: want tcp://HOST:PORT", u.Redacted())
		}
	case "syslog+tcp", "syslog+udp":
		if u.Hostname() == "" {
			return fmt.Errorf("cannot use forward URL %s: want %s://HOST[:PORT]", u.Redacted(), u.Scheme)
		}
	case "unix", "syslog+unix":
		if u.Host != "" || !strings.HasPrefix(u.Path, "/") || len(u.Path) > 107 {
			return fmt.Errorf("cannot use forward URL %s: want %s:///PATH of at most 107 bytes", u.Redacted(), u.Scheme)
		}
	default:
		return fmt.Errorf("cannot use forward URL %s: scheme is none of http https tcp unix syslog+tcp syslog+udp syslog+unix",
			u.Redacted())
	}
	return nil
}

func newTransport(u *url.URL, o *Options) transport {
	syslogAddress := u.Host
	if u.Port() == "" {
		syslogAddress = net.JoinHostPort(u.Hostname(), "514")
	}
	switch u.Scheme {
	case "tcp":
		return &streamTransport{network: "tcp", address: u.Host}
	case "unix":
		return &streamTransport{network: "unix", address: u.Path}
	case "syslog+tcp":
		return &streamTransport{network: "tcp", address: syslogAddress, syslog: true}
	case "syslog+udp":
		return &datagramTransport{network: "udp", address: syslogAddress}
	case "syslog+unix":
		return &datagramTransport{network: "unixgram", address: u.Path}
	}
	return newHTTPTransport(u, o)
}

// httpTransport posts newline-delimited JSON, compressed unless the other side will not have it.
type httpTransport struct {
	url    string
	client *http.Client
	plain  bool
	worked bool // it has answered 2xx
	buf    bytes.Buffer
	zip    *gzip.Writer
}

func newHTTPTransport(u *url.URL, o *Options) *httpTransport {
	t := &http.Transport{
		TLSClientConfig: o.TLS, MaxIdleConnsPerHost: 1, IdleConnTimeout: 30 * time.Second,
		TLSHandshakeTimeout: o.Timeout, DisableCompression: true,
	}
	none := func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &httpTransport{url: u.String(), client: &http.Client{Transport: t, CheckRedirect: none}}
}

func (t *httpTransport) add(b *batch, src *source, rec *logring.Record) { b.addJSON(src, rec) }

func (b *batch) addJSON(src *source, rec *logring.Record) {
	b.payload = AppendJSON(b.payload, src.dest.opt.Host, src.service, rec)
	b.ends = append(b.ends, len(b.payload))
}

func (t *httpTransport) close() { t.client.CloseIdleConnections() }

func (t *httpTransport) send(ctx context.Context, b *batch) error {
	body := b.payload
	if !t.plain {
		body = t.compress(b.payload)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, t.url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/x-ndjson")
	req.Header.Set("User-Agent", "zinit")
	if !t.plain {
		req.Header.Set("Content-Encoding", "gzip")
	}
	resp, err := t.client.Do(req)
	if err != nil {
		return withoutURL(err)
	}
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 64<<10))
	_ = resp.Body.Close()
	return t.judge(resp, len(b.ends))
}

// withoutURL takes the address off an error of net/http: it may hold a password, and the target is told anyway.
func withoutURL(err error) error {
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		return wrapped.Err
	}
	return err
}

// judge turns a status into what to do: 2xx is an acknowledgement; what is about this batch (too large, malformed) is a
// refusal; everything else may pass. Some receivers answer 400 to a body that is compressed: one that never took a batch
// gets the same again as it is.
func (t *httpTransport) judge(resp *http.Response, lines int) error {
	text := fmt.Sprintf("POST of %d lines answered %s", lines, resp.Status)
	switch {
	case resp.StatusCode/100 == 2:
		t.worked = true
		return nil
	case !t.plain && (resp.StatusCode == http.StatusUnsupportedMediaType || resp.StatusCode == http.StatusBadRequest && !t.worked):
		t.plain = true
		return &retryError{text: text + ", compression is left off", after: time.Millisecond}
	case resp.StatusCode == http.StatusBadRequest || resp.StatusCode == http.StatusRequestEntityTooLarge ||
		resp.StatusCode == http.StatusUnprocessableEntity:
		return &refusedError{text}
	}
	return &retryError{text: text, after: retryAfter(resp.Header.Get("Retry-After"), time.Now())}
}

// retryAfter reads the header: seconds, or a date. 0 = nothing useful.
func retryAfter(value string, now time.Time) time.Duration {
	if n, err := strconv.Atoi(value); err == nil && n > 0 {
		return time.Duration(min(n, 1<<20)) * time.Second
	}
	if at, err := http.ParseTime(value); err == nil && at.After(now) {
		return at.Sub(now)
	}
	return 0
}

func (t *httpTransport) compress(b []byte) []byte {
	t.buf.Reset()
	if t.zip == nil {
		t.zip, _ = gzip.NewWriterLevel(&t.buf, gzip.BestSpeed)
	} else {
		t.zip.Reset(&t.buf)
	}
	_, _ = t.zip.Write(b)
	_ = t.zip.Close()
	return t.buf.Bytes()
}

// streamTransport writes to a TCP or unix stream socket: JSON, or syslog.
type streamTransport struct {
	network, address string
	syslog           bool
	conn             net.Conn
	was              fate // of the connection before, not told yet
}

func (t *streamTransport) add(b *batch, src *source, rec *logring.Record) {
	if !t.syslog {
		b.addJSON(src, rec)
		return
	}
	b.addSyslog(src.dest.opt.Host, src.service, rec, src.messageBytes(), true)
}

func (t *streamTransport) close() {
	if t.conn != nil {
		_ = t.conn.Close()
		t.conn = nil
	}
}

func (t *streamTransport) fate() fate {
	if t.conn != nil {
		if f := fateOf(t.conn); f != open {
			t.close()
			t.was = f
		}
	}
	was := t.was
	t.was = open
	return was
}

func (t *streamTransport) send(ctx context.Context, b *batch) (err error) {
	defer func() {
		if err != nil && t.conn != nil {
			if t.was = closed; errors.Is(err, unix.ECONNRESET) || errors.Is(err, unix.EPIPE) {
				t.was = reset
			}
			t.close()
		}
	}()
	if t.conn != nil && fateOf(t.conn) != open { // what went before comes first
		return &retryError{text: "the connection was closed", after: time.Millisecond}
	}
	if t.conn == nil {
		if t.conn, err = (&net.Dialer{}).DialContext(ctx, t.network, t.address); err != nil {
			return err
		}
	}
	stop := context.AfterFunc(ctx, func() { _ = t.conn.SetDeadline(time.Now()) })
	defer stop()
	_ = t.conn.SetDeadline(time.Time{})
	if _, err = t.conn.Write(b.payload); err != nil {
		return err
	}
	return awaitConfirmed(ctx, t.conn)
}

// fateOf looks whether the other side has ended the connection: what is written then would be lost.
func fateOf(conn net.Conn) fate {
	raw, err := conn.(interface {
		SyscallConn() (syscall.RawConn, error)
	}).SyscallConn()
	if err != nil {
		return closed
	}
	f := open
	err = raw.Control(func(fd uintptr) {
		n, _, err := unix.Recvfrom(int(fd), make([]byte, 1), unix.MSG_PEEK|unix.MSG_DONTWAIT)
		switch {
		case n == 0 && err == nil:
			f = closed
		case err != nil && err != unix.EAGAIN && err != unix.EINTR:
			f = reset
		}
	})
	if err != nil {
		return closed
	}
	return f
}

// awaitConfirmed waits until nothing that was written is unconfirmed. There is no event for it; the pauses grow from
// 0.2 to 20 ms.
func awaitConfirmed(ctx context.Context, conn net.Conn) error {
	for pause := 200 * time.Microsecond; ; pause = min(2*pause, 20*time.Millisecond) {
		left, err := unconfirmed(conn)
		switch {
		case err != nil:
			return err
		case left == 0:
			return nil
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return fmt.Errorf("%d bytes are not confirmed: %w", left, ctx.Err())
		}
	}
}

func unconfirmed(conn net.Conn) (left int, err error) {
	raw, err := conn.(interface {
		SyscallConn() (syscall.RawConn, error)
	}).SyscallConn()
	if err != nil {
		return 0, err
	}
	failed := raw.Control(func(fd uintptr) {
		// In this order: a reset sets the error first and then forgets what was not sent.
		if left, err = unix.IoctlGetInt(int(fd), unix.TIOCOUTQ); err != nil {
			return
		}
		if code, e := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_ERROR); e != nil || code != 0 {
			err = errors.Join(e, unix.Errno(code))
		}
	})
	return left, errors.Join(failed, err)
}

// datagramTransport sends each line as a datagram, over UDP or a unix socket; where the unix socket turns out to be a
// stream it goes on as one.
type datagramTransport struct {
	network, address string
	conn             net.Conn
	stream           *streamTransport
}

func (t *datagramTransport) add(b *batch, src *source, rec *logring.Record) {
	b.addSyslog(src.dest.opt.Host, src.service, rec, src.messageBytes(), false)
}

func (t *datagramTransport) fate() fate {
	if t.stream != nil {
		return t.stream.fate()
	}
	return open
}

func (t *datagramTransport) close() {
	if t.conn != nil {
		_ = t.conn.Close()
		t.conn = nil
	}
	if t.stream != nil {
		t.stream.close()
	}
}

func (t *datagramTransport) send(ctx context.Context, b *batch) (err error) {
	if t.stream != nil {
		return t.stream.send(ctx, counted(b))
	}
	if t.conn == nil {
		t.conn, err = (&net.Dialer{}).DialContext(ctx, t.network, t.address)
		if errors.Is(err, unix.EPROTOTYPE) && t.network == "unixgram" {
			t.stream = &streamTransport{network: "unix", address: t.address}
			return t.stream.send(ctx, counted(b))
		}
		if err != nil {
			return err
		}
	}
	deadline, _ := ctx.Deadline()
	_ = t.conn.SetDeadline(deadline)
	from := 0
	for _, end := range b.ends {
		if _, err = t.conn.Write(b.payload[from:end]); err != nil {
			t.close()
			return err
		}
		from = end
	}
	return nil
}

// counted is the batch framed for a stream.
func counted(b *batch) *batch {
	var out []byte
	from := 0
	for _, end := range b.ends {
		out = strconv.AppendInt(out, int64(end-from), 10)
		out = append(append(out, ' '), b.payload[from:end]...)
		from = end
	}
	return &batch{payload: out, ends: b.ends}
}

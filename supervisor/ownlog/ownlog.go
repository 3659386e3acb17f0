// Package ownlog is the server's own log: a slog.Handler that writes text or JSON to stderr and files the same line
// in the ring of the pseudo-service zinit, where `zinit logs zinit` reads it.
//
// A storm is summarised. Of transitions of services (see Transition) the first fifty are told, and from then on one line
// says how many more there were, after a second and, while it goes on, at longer and longer times up to ten seconds. A
// failure is always told by itself, but for those that a service repeats. Of other messages that differ only in their
// details, and concern one service, five in ten seconds are told, of one kind of message over all services fifty; the rest
// is counted, and the count told when the ten seconds are over.
package ownlog

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/zinit/zinit/logring"
)

// Service is the name of the pseudo-service.
const Service = "zinit"

// Options of a handler.
type Options struct {
	Level  slog.Leveler // default Info
	JSON   bool         // one JSON object a line on Out instead of text
	Time   bool         // text begins with the time of day: on a terminal, where nobody else adds one
	Out    io.Writer    // default os.Stderr; nil output is io.Discard
	Window time.Duration
	Burst  int // messages of one kind about one service in a window, default 5
	All    int // messages of one kind in a window, default 50
}

// Handler is the slog.Handler. A Handler made by WithAttrs or WithGroup shares everything with its parent.
type Handler struct {
	core    *core
	attrs   []byte // " key=value" of WithAttrs, for text
	service string // value of the attribute "service" of WithAttrs
	group   string // prefix of keys
	json    slog.Handler
}

// core is shared by all derived handlers.
type core struct {
	opt Options

	mu     sync.Mutex // one line at a time
	arena  *logring.Arena
	early  []logring.Record // lines before the arena was there
	text   bytes.Buffer
	limits limiter
	timer  *time.Timer

	storm      storm
	stormTimer *time.Timer
	stormLast  time.Time // of the last summary
}

// New makes a handler. Lines before SetArena are kept, up to 100, and filed then.
func New(o Options) *Handler {
	if o.Level == nil {
		o.Level = slog.LevelInfo
	}
	if o.Out == nil {
		o.Out = os.Stderr
	}
	if o.Window <= 0 {
		o.Window = 10 * time.Second
	}
	if o.Burst <= 0 {
		o.Burst = 5
	}
	if o.All <= 0 {
		o.All = 50
	}
	c := &core{opt: o, storm: newStorm()}
	c.limits.reset()
	h := &Handler{core: c}
	if o.JSON {
		h.json = slog.NewJSONHandler(o.Out, &slog.HandlerOptions{Level: o.Level})
	}
	return h
}

// SetArena tells where lines are filed from now on.
func (h *Handler) SetArena(a *logring.Arena) {
	c := h.core
	c.mu.Lock()
	defer c.mu.Unlock()
	c.arena = a
	for _, rec := range c.early {
		a.Ring(Service, logring.Limits{}).Append(rec)
	}
	c.early = nil
}

// Flush tells what is still only counted: before the process ends.
func (h *Handler) Flush() {
	h.core.mu.Lock()
	defer h.core.mu.Unlock()
	h.core.stormTick()
	h.core.summarise()
}

// Enabled implements slog.Handler.
func (h *Handler) Enabled(_ context.Context, l slog.Level) bool { return l >= h.core.opt.Level.Level() }

// WithAttrs implements slog.Handler.
func (h *Handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	if len(attrs) == 0 {
		return h
	}
	n := *h
	n.attrs = append([]byte(nil), h.attrs...)
	for _, a := range attrs {
		n.attrs = appendAttr(n.attrs, h.group, a)
		if a.Key == "service" {
			n.service = a.Value.Resolve().String()
		}
	}
	if h.json != nil {
		n.json = h.json.WithAttrs(attrs)
	}
	return &n
}

// WithGroup implements slog.Handler.
func (h *Handler) WithGroup(name string) slog.Handler {
	if name == "" {
		return h
	}
	n := *h
	n.group = h.group + name + "."
	if h.json != nil {
		n.json = h.json.WithGroup(name)
	}
	return &n
}

// Handle implements slog.Handler.
func (h *Handler) Handle(ctx context.Context, r slog.Record) error {
	service, change, isChange := h.subject(&r)
	c := h.core
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.timer == nil {
		c.timer = time.AfterFunc(c.opt.Window, c.windowOver)
	}
	switch {
	case isChange && c.opt.Level.Level() <= slog.LevelDebug: // who asks for everything gets it
	case isChange:
		if now := time.Now(); !c.storm.admit(now, change, service, c.opt.Burst) {
			c.stormHolds(now)
			return nil
		}
	case !c.limits.admit(kind{r.Message, r.Level}, service, c.opt.Burst, c.opt.All):
		return nil
	}
	return c.write(ctx, h, r)
}

// subject is the service that a message is about, and the transition that it tells.
func (h *Handler) subject(r *slog.Record) (service string, change transition, isChange bool) {
	service = h.service
	r.Attrs(func(a slog.Attr) bool {
		switch {
		case a.Key == "service" && h.group == "":
			service = a.Value.Resolve().String()
		case a.Key == "" && a.Value.Kind() == slog.KindLogValuer:
			change, isChange = a.Value.LogValuer().(transition)
		}
		return true
	})
	return service, change, isChange
}

// write puts one line out; the caller has the lock.
func (c *core) write(ctx context.Context, h *Handler, r slog.Record) error {
	if r.Time.IsZero() {
		r.Time = time.Now()
	}
	line := appendLine(nil, h, r)
	c.file(r.Time, r.Level, line)
	if h.json != nil {
		return h.json.Handle(ctx, r)
	}
	c.text.Reset()
	if c.opt.Time {
		c.text.WriteString(r.Time.Format("15:04:05.000 "))
	}
	c.text.Write(line)
	c.text.WriteByte('\n')
	_, err := c.opt.Out.Write(c.text.Bytes())
	return err
}

func (c *core) file(at time.Time, level slog.Level, line []byte) {
	rec := logring.Record{TimeMS: at.UnixMilli(), Stream: logring.Stderr, PID: int32(os.Getpid()), Priority: priority(level), Text: line}
	switch {
	case c.arena != nil:
		c.arena.Ring(Service, logring.Limits{}).Append(rec)
	case len(c.early) < 100:
		c.early = append(c.early, rec)
	}
}

// priority is the facility daemon with the severity that a level is.
func priority(l slog.Level) logring.Priority {
	const daemon = 3
	switch {
	case l >= slog.LevelError:
		return logring.MakePriority(daemon, 3)
	case l >= slog.LevelWarn:
		return logring.MakePriority(daemon, 4)
	case l >= slog.LevelInfo:
		return logring.MakePriority(daemon, 6)
	}
	return logring.MakePriority(daemon, 7)
}

var levelWords = map[slog.Level]string{
	slog.LevelDebug: "debug", slog.LevelInfo: "info", slog.LevelWarn: "warning", slog.LevelError: "error",
}

// appendLine is the text form: level, message, then key=value.
func appendLine(b []byte, h *Handler, r slog.Record) []byte {
	word, ok := levelWords[r.Level]
	if !ok {
		word = strings.ToLower(r.Level.String())
	}
	b = append(b, word...)
	b = append(b, ": "...)
	b = appendClean(b, r.Message)
	b = append(b, h.attrs...)
	r.Attrs(func(a slog.Attr) bool {
		b = appendAttr(b, h.group, a)
		return true
	})
	return b
}

func appendAttr(b []byte, prefix string, a slog.Attr) []byte {
	v := a.Value.Resolve()
	switch {
	case a.Equal(slog.Attr{}):
		return b
	case v.Kind() == slog.KindGroup:
		if a.Key != "" {
			prefix += a.Key + "."
		}
		for _, member := range v.Group() {
			b = appendAttr(b, prefix, member)
		}
		return b
	}
	b = append(b, ' ')
	b = append(b, prefix...)
	b = append(b, a.Key...)
	b = append(b, '=')
	s := v.String()
	if s == "" || strings.ContainsAny(s, " =\"") || strings.ContainsFunc(s, unprintable) {
		return strconv.AppendQuote(b, s)
	}
	return append(b, s...)
}

func unprintable(r rune) bool { return r < ' ' || r == 0x7f || r == utf8.RuneError }

// appendClean appends a message; one that is not a single printable line is quoted.
func appendClean(b []byte, s string) []byte {
	if strings.ContainsFunc(s, unprintable) {
		return strconv.AppendQuote(b, s)
	}
	return append(b, s...)
}

// bare is a handler without attributes.
func (c *core) bare() *Handler {
	h := &Handler{core: c}
	if c.opt.JSON {
		h.json = slog.NewJSONHandler(c.opt.Out, nil)
	}
	return h
}

// windowOver ends a window of the limiter.
func (c *core) windowOver() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.summarise()
}

// summarise tells what was held back and begins a new window with the next message.
func (c *core) summarise() {
	if c.timer != nil {
		c.timer.Stop()
		c.timer = nil
	}
	h := c.bare()
	for _, s := range c.limits.summaries() {
		r := slog.NewRecord(time.Now(), s.kind.level, s.kind.message, 0)
		r.AddAttrs(slog.Uint64("more", s.more), slog.Duration("within", c.opt.Window))
		if s.service != "" {
			r.AddAttrs(slog.String("service", s.service))
		} else if s.services > 1 {
			r.AddAttrs(slog.Int("services", s.services))
		}
		_ = c.write(context.Background(), h, r)
	}
	c.limits.reset()
	c.storm.reset()
}

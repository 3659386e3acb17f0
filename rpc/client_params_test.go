package rpc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/zinit/zinit/rpc/wire"
)

// TestWhatTheClientSends: the method and the parameters of every call, with and without what may be left out.
func TestWhatTheClientSends(t *testing.T) {
	var mu sync.Mutex
	var got string
	path := script(t, func(text string) string {
		var request struct {
			ID     json.RawMessage
			Method string
			Params json.RawMessage
		}
		if err := json.Unmarshal([]byte(text), &request); err != nil {
			return ""
		}
		mu.Lock()
		got = strings.TrimSpace(request.Method + " " + string(request.Params))
		mu.Unlock()
		return fmt.Sprintf(`{"jsonrpc":"2.0","id":%s,"error":{"code":-32603,"message":"seen"}}`+"\n", request.ID)
	})
	c, ctx := dialClient(t, path), t.Context()
	for want, call := range map[string]func() error{
		`service.kill {"name":"a","signal":"HUP"}`:                          func() error { _, err := c.Kill(ctx, "a", "HUP"); return err },
		`service.kill {"name":"a"}`:                                         func() error { _, err := c.Kill(ctx, "a", ""); return err },
		`service.list_full {"stats":true}`:                                  func() error { _, err := c.ListFull(ctx, true); return err },
		`service.list_full`:                                                 func() error { _, err := c.ListFull(ctx, false); return err },
		`service.tree {"name":"a\"b"}`:                                      func() error { _, err := c.Tree(ctx, `a"b`); return err },
		`service.tree`:                                                      func() error { _, err := c.Tree(ctx, ""); return err },
		`service.reload {"allow_removal":true}`:                             func() error { _, err := c.Reload(ctx, true); return err },
		`service.reload`:                                                    func() error { _, err := c.Reload(ctx, false); return err },
		`service.run {"name":"a","no_deps":true,"timeout_ms":5}`:            func() error { _, err := c.Run(ctx, "a", RunRequest{NoDeps: true, TimeoutMS: 5}); return err },
		`service.run {"after":7,"name":"a","no_deps":false,"timeout_ms":0}`: func() error { _, err := c.Run(ctx, "a", RunRequest{Again: true, After: 7}); return err },
		`jobs.log {"lines":3,"name":"a","run":2}`:                           func() error { _, err := c.JobLog(ctx, RunQuery{Name: "a", Run: 2, Lines: 3}); return err },
		`jobs.log {"grep":"x","lines":3,"name":"a","run":2,"stream":"stderr"}`: func() error {
			_, err := c.JobLog(ctx, RunQuery{Name: "a", Run: 2, Lines: 3, Stream: "stderr", Grep: "x"})
			return err
		},
		`jobs.list`:                          func() error { _, err := c.Jobs(ctx); return err },
		`jobs.history {"name":"a"}`:          func() error { _, err := c.JobHistory(ctx, "a"); return err },
		`metrics.get {"format":"f"}`:         func() error { _, err := c.Metrics(ctx, "f"); return err },
		`system.shutdown`:                    func() error { return c.Shutdown(ctx, "") },
		`system.reboot`:                      func() error { return c.Shutdown(ctx, PowerReboot) },
		`service.delete_all {"files":"all"}`: func() error { _, err := c.ForgetAll(ctx, wire.FilesAll); return err },
		`xinet.set {"config":`:               func() error { return c.XinetSet(ctx, wire.XinetConfig{Name: "p"}) },
		`any {"name":"a"}`:                   func() error { return c.Call(ctx, "any", nameParams{"a"}, nil) },
		`any {"raw":1}`:                      func() error { return c.Call(ctx, "any", json.RawMessage("{\n \"raw\": 1}"), nil) },
	} {
		err := call()
		var refused *wire.Error
		if !errors.As(err, &refused) || refused.Message != "seen" {
			t.Errorf("%s: %v", want, err)
		}
		mu.Lock()
		if got != want && !(strings.HasSuffix(want, ":") && strings.HasPrefix(got, want)) {
			t.Errorf("sent %s, want %s", got, want)
		}
		mu.Unlock()
	}
	if b, err := (nameParams{`a"b`}).MarshalJSON(); err != nil || string(b) != `{"name":"a\"b"}` {
		t.Errorf("%s, %v", b, err)
	}
	if err := c.Call(ctx, "any", func() {}, nil); err == nil || !strings.Contains(err.Error(), "any") {
		t.Errorf("parameters that are none: %v", err)
	}
}

// TestFollowLogsTellsGaps: what was passed over is told once, where no filter leaves lines out, and what was seen is not told
// again.
func TestFollowLogsTellsGaps(t *testing.T) {
	line := func(seq uint64) wire.LogLine { return wire.LogLine{Service: "a", Seq: seq, TimestampMS: int64(seq)} }
	fake := newFake("a")
	fake.followLogs = func(_ context.Context, _ LogQuery, send func(wire.Follow) error) error {
		for _, f := range []wire.Follow{
			{Service: "a", Missed: 7, Lines: []wire.LogLine{line(8)}}, {Lines: []wire.LogLine{}}, {Service: "a", Missed: 3, Lines: []wire.LogLine{line(12), line(13)}},
			{Lines: []wire.LogLine{line(13)}}, {Lines: []wire.LogLine{line(17), line(18)}}, {Service: "a", Missed: 2, Lines: []wire.LogLine{}},
			{Lines: []wire.LogLine{line(21)}},
		} {
			if err := send(f); err != nil {
				return err
			}
		}
		return wire.NewError(wire.CodeInternal, "over")
	}
	client := dialClient(t, serveFake(t, fake, ServerOptions{}).path)
	for _, c := range []struct {
		q    LogQuery
		want string
	}{
		{LogQuery{}, "missed 7: 8, missed 3: 12 13, missed 3:, missed 0: 17 18, missed 2:, missed 0: 21"},
		{LogQuery{Grep: "x"}, "missed 7: 8, missed 3: 12 13, missed 0: 17 18, missed 2:, missed 0: 21"},
		{LogQuery{Stream: "stderr"}, "missed 7: 8, missed 3: 12 13, missed 0: 17 18, missed 2:, missed 0: 21"},
	} {
		var got []string
		err := client.FollowLogs(t.Context(), c.q, func(f wire.Follow) error {
			text := fmt.Sprintf("missed %d:", f.Missed)
			for _, l := range f.Lines {
				text += fmt.Sprint(" ", l.Seq)
			}
			got = append(got, text)
			return nil
		})
		var ended *wire.Error
		if !errors.As(err, &ended) || ended.Message != "over" || strings.Join(got, ", ") != c.want {
			t.Errorf("%+v: %v after\n%s, want\n%s", c.q, err, strings.Join(got, ", "), c.want)
		}
	}
	enough := errors.New("enough")
	calls := 0
	if err := client.FollowLogs(t.Context(), LogQuery{}, func(f wire.Follow) error {
		if calls++; len(f.Lines) == 0 { // the gap
			return enough
		}
		return nil
	}); !errors.Is(err, enough) || calls != 3 {
		t.Errorf("%v after %d calls", err, calls)
	}
}

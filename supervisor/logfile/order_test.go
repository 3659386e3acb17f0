package logfile

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/zinit/zinit/graph"
	"github.com/zinit/zinit/logring"
)

// R4: whatever is written, in whatever pieces it is flushed and however it is rotated, the files from the oldest on are the
// lines of the ring in their order.
func TestFilesAreTheRing(t *testing.T) {
	for seed := range uint64(30) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			rng := rand.New(rand.NewPCG(seed, 4))
			f := newFixture(t)
			ring := f.a.Ring("s", logring.Limits{Lines: 1 << 20, Bytes: 16 << 20})
			config := Config{Path: f.path, Rotate: int64(rng.IntN(3)) * int64(500+rng.IntN(20_000)), Keep: 100_000, Gzip: rng.IntN(2) == 0,
				Format: graph.FileFormat(seed % 3)}
			f.fs.Set("s", &config)
			var want []byte
			for range 300 + rng.IntN(500) {
				n := rng.IntN(150)
				if rng.IntN(100) == 0 {
					n = rng.IntN(logring.MaxLine + 1)
				}
				rec := logring.Record{Seq: ring.Next(), TimeMS: rng.Int64N(1 << 40), Continued: rng.IntN(20) == 0, Text: bytes.Repeat([]byte{byte(rng.IntN(256))}, n)}
				want = (&source{service: "s"}).appendLine(want, &rec, config.Format)
				ring.Append(rec)
				switch rng.IntN(100) {
				case 0:
					f.flush(t)
				case 1: // the server ends, and another one goes on
					f.fs.Close(context.Background())
					f.fs = New(f.a, Options{Report: f.report})
					f.fs.Set("s", &config)
				case 2:
					f.fs.Reopen()
				case 3: // a reload takes the file away, and another one gives it back; what is said between is in the ring only
					f.flush(t)
					f.fs.Set("s", nil)
					f.fs.Set("s", &config)
				}
			}
			f.flush(t)
			f.fs.Close(context.Background()) // compression is over too
			if got := all(t, f.path); !bytes.Equal(got, want) {
				t.Fatalf("%d bytes in the files, %d from the ring; they differ at %d", len(got), len(want), differ(got, want))
			}
			if reports := f.reported(); len(reports) > 0 {
				t.Errorf("reports: %v", reports[0].err)
			}
		})
	}
}

// all is the text of the files that belong to a path, the oldest first.
func all(t *testing.T, path string) (b []byte) {
	t.Helper()
	older := 0
	for there(fmt.Sprintf("%s.%d", path, older+1)) || there(fmt.Sprintf("%s.%d.gz", path, older+1)) {
		older++
	}
	for n := older; n > 0; n-- {
		name := fmt.Sprintf("%s.%d", path, n)
		if !there(name) {
			name += ".gz"
		}
		b = append(b, content(t, name)...)
	}
	return append(b, content(t, path)...)
}

func differ(a, b []byte) int {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return i
		}
	}
	return min(len(a), len(b))
}

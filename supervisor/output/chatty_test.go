package output

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/zinit/zinit/logring"
)

// A thousand services that all write, one of them as fast as it can: draining another one and reading its lines stays
// quick, and memory stays within the bound. The p99 is logged; the bound of the test is wide, for busy machines.
func TestThousandChattyServices(t *testing.T) {
	f := newFixture(t)
	stop := make(chan struct{})
	var pipes []*os.File
	for i := range 1000 {
		pipes = append(pipes, f.pipe(t, Source{fmt.Sprint("s", i), uint64(i + 1), logring.Stdout, 0}))
	}
	flood := f.pipe(t, Source{"flood", 2000, logring.Stdout, 0})
	ended := make(chan struct{}, 2)
	go func() {
		defer func() { ended <- struct{}{} }()
		block := bytes.Repeat([]byte("flood flood flood flood\n"), 2000)
		for {
			if _, err := flood.Write(block); err != nil {
				return
			}
		}
	}()
	go func() {
		defer func() { ended <- struct{}{} }()
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
				_, _ = fmt.Fprintf(pipes[i%999], "line %d of a chatty service\n", i)
			}
		}
	}()
	var took []time.Duration
	for i := range 300 {
		write(t, pipes[999], fmt.Sprintf("%d\n", i))
		began := time.Now()
		f.r.Drain([]uint64{1000})
		recs := f.a.Ring("s999", logring.Limits{}).Last(1, nil)
		took = append(took, time.Since(began))
		if len(recs) != 1 || string(recs[0].Text) != fmt.Sprint(i) {
			t.Fatalf("after Drain %d the last line is %v", i, recs)
		}
		if f.a.Bytes() > f.a.Total() {
			t.Fatalf("%d bytes, total is %d", f.a.Bytes(), f.a.Total())
		}
	}
	close(stop)
	f.r.Release(2000, 0)
	<-ended
	<-ended
	slices.Sort(took)
	p99 := took[len(took)*99/100]
	t.Logf("p50 %v, p99 %v, worst %v", took[len(took)/2], p99, took[len(took)-1])
	if p99 > 200*time.Millisecond {
		t.Errorf("p99 of Drain beside a flood is %v", p99)
	}
}

package probe

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/zinit/zinit/graph"
)

// runHTTP sends one request without a proxy, follows no redirect, and compares the status.
func runHTTP(ctx context.Context, h *graph.Health) (bool, string) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	target := h.Target
	if !strings.Contains(target, "://") {
		target = "http://" + target
	}
	method := h.Method.String()
	request, err := http.NewRequestWithContext(ctx, method, target, nil)
	if err != nil {
		return false, fmt.Sprintf("%s %s: %v", method, target, cause(err))
	}
	target = request.URL.Redacted()
	if user := request.URL.User; user != nil {
		password, _ := user.Password()
		request.SetBasicAuth(user.Username(), password)
	}
	request.Header.Set("User-Agent", "zinit-health")
	request.Header.Set("Accept", "*/*")
	request.Close = true
	transport := newTransport(h)
	defer transport.CloseIdleConnections()
	response, err := transport.RoundTrip(request)
	if err != nil {
		return false, fmt.Sprintf("%s %s: %s", method, target, reason(ctx, h, cause(err)))
	}
	defer response.Body.Close()
	begin := readBody(response, cancel)
	if expected(h.ExpectStatus, response.StatusCode) {
		return true, method + " " + target + " answered " + response.Status
	}
	got := fmt.Sprintf("%s %s answered %d, want %s", method, target, response.StatusCode, want(h.ExpectStatus))
	return false, withOutput(got, firstLine(begin))
}

// readBody reads an answer to its end, so that the program that sent it sees its connection closed in order and not reset,
// which many log as an error, and returns the beginning. One that has no end in sight is given up by stop: a stream of
// events is no page, and a connection that speaks another protocol from now on has none.
func readBody(response *http.Response, stop func()) (begin []byte) {
	if response.StatusCode == http.StatusSwitchingProtocols {
		return nil
	}
	body := response.Body
	defer time.AfterFunc(bodyPatience, stop).Stop()
	begin, _ = io.ReadAll(io.LimitReader(body, bodyShown))
	_, _ = io.CopyN(io.Discard, body, bodyMax-bodyShown)
	return begin
}

// newTransport is used for one request: no proxy, no kept connection, nothing that outlives the check. A RoundTrip
// follows no redirect.
func newTransport(h *graph.Health) *http.Transport {
	return &http.Transport{
		DialContext:            dial,
		DisableKeepAlives:      true,
		DisableCompression:     true,
		MaxResponseHeaderBytes: headerMax,
		TLSClientConfig:        &tls.Config{InsecureSkipVerify: !h.TLSVerify}, //nolint:gosec // tls_verify = false was asked for
	}
}

// cause strips the method and address that net/http adds.
func cause(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}

func expected(ranges []graph.StatusRange, code int) bool {
	if len(ranges) == 0 {
		return code == http.StatusOK
	}
	for _, r := range ranges {
		if code >= r.Low && code <= r.High {
			return true
		}
	}
	return false
}

// want writes the expected codes: "200", "200, 204", "2xx", "200-204".
func want(ranges []graph.StatusRange) string {
	if len(ranges) == 0 {
		return "200"
	}
	words := make([]string, len(ranges))
	for i, r := range ranges {
		switch {
		case r.Low == r.High:
			words[i] = strconv.Itoa(r.Low)
		case r.Low%100 == 0 && r.High == r.Low+99:
			words[i] = strconv.Itoa(r.Low/100) + "xx"
		default:
			words[i] = strconv.Itoa(r.Low) + "-" + strconv.Itoa(r.High)
		}
	}
	return strings.Join(words, ", ")
}

// firstLine is the first line of a body, unless that is markup.
func firstLine(body []byte) string {
	text := strings.TrimSpace(string(body))
	line, _, _ := strings.Cut(text, "\n")
	if strings.HasPrefix(line, "<") {
		return ""
	}
	return strings.TrimSpace(line)
}

package ship

import (
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/zinit/zinit/logring"
)

const timeFormat = "2006-01-02T15:04:05.000Z07:00"

var streamNames = [...]string{logring.Stdout: "stdout", logring.Stderr: "stderr", logring.Syslog: "syslog"}

func streamName(s uint8) string {
	if int(s) < len(streamNames) {
		return streamNames[s]
	}
	return "unknown"
}

// AppendJSON appends one line as a JSON object and a newline. The members follow the habits of Vector and ECS; those that
// only syslog messages have are named as Vector's syslog source names them.
func AppendJSON(b []byte, host, service string, rec *logring.Record) []byte {
	b = append(b, `{"timestamp":"`...)
	b = time.UnixMilli(rec.TimeMS).UTC().AppendFormat(b, timeFormat)
	b = append(b, `","message":`...)
	b = appendString(b, rec.Text)
	b = append(b, `,"host":`...)
	b = appendString(b, host)
	b = append(b, `,"service":`...)
	b = appendString(b, service)
	b = append(b, `,"stream":"`...)
	b = append(b, streamName(rec.Stream)...)
	b = append(b, `","seq":`...)
	b = strconv.AppendUint(b, rec.Seq, 10)
	b = append(b, `,"pid":`...)
	b = strconv.AppendInt(b, int64(rec.PID), 10)
	if severity := rec.Priority.Severity(); severity != "" {
		b = append(append(append(b, `,"severity":"`...), severity...), `","facility":"`...)
		b = append(append(b, rec.Priority.Facility()...), '"')
	}
	if rec.Continued {
		b = append(b, `,"continued":true`...)
	}
	return append(b, "}\n"...)
}

const hexDigits = "0123456789abcdef"

// appendString appends s as a JSON string. Bytes that are no UTF-8 become U+FFFD.
func appendString[T string | []byte](b []byte, s T) []byte {
	b = append(b, '"')
	plain := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c >= ' ' && c < utf8.RuneSelf && c != '"' && c != '\\' && c != 0x7f {
			i++
			continue
		}
		size := 1
		if c >= utf8.RuneSelf {
			var r rune
			if r, size = utf8.DecodeRuneInString(string(s[i:min(len(s), i+utf8.UTFMax)])); r != utf8.RuneError || size > 1 {
				i += size
				continue
			}
		}
		b = append(b, s[plain:i]...)
		b = appendEscape(b, c)
		i += size
		plain = i
	}
	b = append(b, s[plain:]...)
	return append(b, '"')
}

func appendEscape(b []byte, c byte) []byte {
	switch {
	case c == '"' || c == '\\':
		return append(b, '\\', c)
	case c == '\n':
		return append(b, `\n`...)
	case c == '\r':
		return append(b, `\r`...)
	case c == '\t':
		return append(b, `\t`...)
	case c >= utf8.RuneSelf:
		return append(b, `\ufffd`...)
	}
	return append(b, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
}

// A syslog message keeps its priority. What came through a pipe has facility daemon and the severity of its stream:
// programs write errors to stderr, as Docker's driver reads it too.
const (
	priorityInfo  = 3<<3 | 6
	priorityError = 3<<3 | 3
)

// appendSyslogHeader appends what comes before the text of an RFC 5424 message: the service is APP-NAME, the stream MSGID,
// the sequence number the registered element meta sequenceId (which ends at 2147483647 and begins again at 1).
func appendSyslogHeader(b []byte, host, service string, rec *logring.Record) []byte {
	priority, ok := rec.Priority.PRI()
	switch {
	case ok:
	case rec.Stream == logring.Stderr:
		priority = priorityError
	default:
		priority = priorityInfo
	}
	b = append(b, '<')
	b = strconv.AppendInt(b, int64(priority), 10)
	b = append(b, ">1 "...)
	b = time.UnixMilli(rec.TimeMS).UTC().AppendFormat(b, timeFormat)
	b = append(b, ' ')
	b = appendName(b, host, 255)
	b = append(b, ' ')
	b = appendName(b, service, 48)
	b = append(b, ' ')
	if rec.PID > 0 {
		b = strconv.AppendInt(b, int64(rec.PID), 10)
	} else {
		b = append(b, '-')
	}
	b = append(b, ' ')
	b = append(b, streamName(rec.Stream)...)
	b = append(b, ` [meta sequenceId="`...)
	b = strconv.AppendUint(b, (rec.Seq-1)%2147483647+1, 10)
	return append(b, `"] `...)
}

// appendName appends a header field: printable ASCII without spaces, "-" for none.
func appendName(b []byte, s string, most int) []byte {
	if s == "" {
		return append(b, '-')
	}
	for i := 0; i < min(len(s), most); i++ {
		if c := s[i]; c > ' ' && c < 0x7f {
			b = append(b, c)
		} else {
			b = append(b, '_')
		}
	}
	return b
}

// addSyslog adds one line as RFC 5424 messages of at most most bytes each, its header included: a receiver takes the rest
// of a longer one for messages of their own (rsyslog) or closes the connection (syslog-ng). The messages of one line have
// its header and its number, and end between characters. counted frames them as RFC 6587 and RFC 5425 do for streams: the
// length, a space, the message.
func (b *batch) addSyslog(host, service string, rec *logring.Record, most int, counted bool) {
	b.header = appendSyslogHeader(b.header[:0], host, service, rec)
	for text, first := rec.Text, true; first || len(text) > 0; first = false {
		n := pieceLen(text, max(most-len(b.header), 1))
		if counted {
			b.payload = strconv.AppendInt(b.payload, int64(len(b.header)+n), 10)
			b.payload = append(b.payload, ' ')
		}
		b.payload = append(append(b.payload, b.header...), text[:n]...)
		b.ends = append(b.ends, len(b.payload))
		text = text[n:]
	}
}

// pieceLen is how much of text goes into a message with room for that many bytes, without dividing a character.
func pieceLen(text []byte, room int) int {
	if len(text) <= room {
		return len(text)
	}
	for n := room; n > max(room-utf8.UTFMax, 0); n-- {
		if utf8.RuneStart(text[n]) {
			return n
		}
	}
	return room
}

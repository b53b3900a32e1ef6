// Package http1 reads and writes HTTP/1.1 messages strictly, as byte spans.
//
//	connection --Reader.ReadRequest--> Request (spans into the head) --AppendRequestHead, AppendInward--> head for the other side
//	           --Reader.Body---------> BodyReader (length, chunked, until close)
//	server     --Reader.ReadResponse-> Response --AppendStatusLine, AppendOutward--> head for the device
//
// It is the one parser of both ends of the tunnel, so both read the same meaning out of the same bytes. What has
// more than one reading in practice is refused: two lengths, a length beside a transfer coding, bare CR or LF,
// folded lines, a space before the colon, control characters. Start line, Host and framing are always written anew;
// other field lines are copied as they came, minus those that DroppedInward and DroppedOutward name.
//
// A HTTP/2 front makes the same request by writing a head with AppendRequestHead and AppendField and parsing it.
//
// Nothing here sets deadlines, logs or starts goroutines.
package http1

// The limits of HTTP heads, used where a Limits field is zero.
const (
	DefaultMaxHeadBytes       = 16 << 10 // of a request, with start line and empty line
	DefaultMaxAnswerHeadBytes = 64 << 10 // of an answer; directories and cookies of inside servers can be large
	DefaultMaxFields          = 100
	DefaultMaxTargetBytes     = 8 << 10
)

// Limits bounds one message head. Zero fields mean the defaults.
type Limits struct {
	MaxHeadBytes   int
	MaxFields      int
	MaxTargetBytes int
}

func (l Limits) forRequest() Limits { return l.or(DefaultMaxHeadBytes) }

func (l Limits) forResponse() Limits { return l.or(DefaultMaxAnswerHeadBytes) }

func (l Limits) or(headBytes int) Limits {
	if l.MaxHeadBytes <= 0 {
		l.MaxHeadBytes = headBytes
	}
	if l.MaxFields <= 0 {
		l.MaxFields = DefaultMaxFields
	}
	if l.MaxTargetBytes <= 0 {
		l.MaxTargetBytes = DefaultMaxTargetBytes
	}
	return l
}

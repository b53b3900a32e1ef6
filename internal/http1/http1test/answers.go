package http1test

import "strings"

// An Answer is what a server sends to a GET: head and perhaps a body.
type Answer struct{ Name, Raw string }

// BadAnswers returns answers whose head has two meanings or none: the device must get a 502, although the connection
// to the server stays open.
func BadAnswers() []Answer {
	return []Answer{
		{"length and chunked", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"},
		{"two lengths", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n"},
		{"two equal lengths", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n"},
		{"length with a plus", "HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\n"},
		{"length that overflows", "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n"},
		{"other transfer coding", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n"},
		{"identity", "HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\n"},
		{"chunked in HTTP/1.0", "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"},
		{"chunked 204", "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n"},
		{"204 with a length", "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n"},
		{"100 with a length", "HTTP/1.1 100 Continue\r\nContent-Length: 5\r\n\r\n"},
		{"101 without Upgrade", "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\n\r\n"},
		{"101 without Connection", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n"},
		{"101 in HTTP/1.0", "HTTP/1.0 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"},
		{"bare LF", "HTTP/1.1 200 OK\nContent-Length: 5\r\n\r\n"},
		{"bare LF throughout", "HTTP/1.1 200 OK\nContent-Length: 5\n\n"},
		{"bare CR in a value", "HTTP/1.1 200 OK\r\nX: a\rSet-Cookie: b\r\n\r\n"},
		{"bare CR in the reason", "HTTP/1.1 200 OK\rX: y\r\n\r\n"},
		{"NUL in a value", "HTTP/1.1 200 OK\r\nX: a\x00\r\n\r\n"},
		{"folded field", "HTTP/1.1 200 OK\r\nX: a\r\n b\r\n\r\n"},
		{"space before the colon", "HTTP/1.1 200 OK\r\nContent-Length : 5\r\n\r\n"},
		{"no colon", "HTTP/1.1 200 OK\r\ngarbage\r\n\r\n"},
		{"other protocol", "ICY 200 OK\r\n\r\n"},
		{"other version", "HTTP/1.2 200 OK\r\n\r\n"},
		{"HTTP/2", "HTTP/2 200\r\n\r\n"},
		{"version in small letters", "http/1.1 200 OK\r\n\r\n"},
		{"status of two digits", "HTTP/1.1 20 OK\r\n\r\n"},
		{"status of four digits", "HTTP/1.1 2000 OK\r\n\r\n"},
		{"status below 100", "HTTP/1.1 099 OK\r\n\r\n"},
		{"status above 599", "HTTP/1.1 600 OK\r\n\r\n"},
		{"status with letters", "HTTP/1.1 2x0 OK\r\n\r\n"},
		{"two spaces before the status", "HTTP/1.1  200 OK\r\n\r\n"},
		{"tab before the status", "HTTP/1.1\t200 OK\r\n\r\n"},
		{"no status", "HTTP/1.1\r\n\r\n"},
		{"HTML", "<html>\r\n\r\n"},
		{"empty line", "\r\n\r\n"},
		{"head above 64 KiB", "HTTP/1.1 200 OK\r\nX: " + strings.Repeat("a", 64<<10) + "\r\n\r\n"},
		{"too many fields", "HTTP/1.1 200 OK\r\n" + strings.Repeat("X: a\r\n", 101) + "\r\n"},
	}
}

// CutAnswers returns answers with a good head whose body ends early, with the connection behind it, or breaks the
// rules of chunks: the device must not see a complete one.
func CutAnswers() []Answer {
	const length, chunked = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
	return []Answer{
		{"no body", length},
		{"half a body", length + "hello"},
		{"a byte is missing", length + "123456789"},
		{"no chunk", chunked},
		{"half a chunk", chunked + "a\r\nhello"},
		{"no line end behind a chunk", chunked + "5\r\nhello"},
		{"no last chunk", chunked + "5\r\nhello\r\n"},
		{"no size of the next chunk", chunked + "5\r\nhello\r\n\r\n"},
		{"half a last chunk", chunked + "5\r\nhello\r\n0"},
		{"no empty line behind the last chunk", chunked + "5\r\nhello\r\n0\r\n"},
		{"half a trailer", chunked + "5\r\nhello\r\n0\r\nX: y"},
		{"broken chunk size", chunked + "0x5\r\nhello\r\n0\r\n\r\n"},
		{"bare LF behind a chunk size", chunked + "5\nhello\r\n0\r\n\r\n"},
		{"chunk longer than its size", chunked + "3\r\nhello\r\n0\r\n\r\n"},
		{"another answer in place of a chunk", chunked + "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"},
	}
}

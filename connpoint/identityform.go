package connpoint

import (
	"encoding/base64"
	"encoding/pem"
	"fmt"

	"github.com/causeway-gateway/causeway/identity"
	"github.com/causeway-gateway/causeway/signed"
)

// identityNames are the names of all fields that this connection point sets itself. Whatever comes under one of
// them from outside, in any case and with '_' for '-', is dropped for every server, whichever forms it takes.
var identityNames = []string{
	"Client-Cert", "Client-Cert-Chain", "X-Causeway-Device-Id", "Forwarded", "X-Request-Id", "Traceparent",
	"X-Client-Verify", "X-Client-DN", "X-Client-Cert",
	"X-SSL-Client-Verify", "X-SSL-Client-S-DN", "X-SSL-Client-I-DN", "X-SSL-Client-M-Serial", "X-SSL-Client-Cert",
}

// identityLines renders the field lines that tell a server who the device is. They are the same for every request
// of a principal, so they are made once for each combination of forms.
func identityLines(d *identity.Device, forms []string) ([]byte, error) {
	subject, err := parseName(d.Leaf.RawSubject)
	if err != nil {
		return nil, err
	}
	issuer, err := parseName(d.Leaf.RawIssuer)
	if err != nil {
		return nil, err
	}
	b := make([]byte, 0, 4*len(d.Leaf.Raw))
	b = append(b, "Client-Cert: :"...)
	b = base64.StdEncoding.AppendEncode(b, d.Leaf.Raw)
	b = append(b, ":\r\nX-Causeway-Device-Id: "...)
	b = append(b, d.ID...)
	b = append(b, "\r\n"...)
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: d.Leaf.Raw})
	for _, f := range forms {
		switch f {
		case signed.FormNginx:
			b = append(b, "X-Client-Verify: SUCCESS\r\nX-Client-DN: "...)
			b = appendRFC2253(b, subject)
			b = append(b, "\r\nX-Client-Cert: "...)
			b = appendEscaped(b, text)
			b = append(b, "\r\n"...)
		case signed.FormApache:
			b = append(b, "X-SSL-Client-Verify: SUCCESS\r\nX-SSL-Client-S-DN: "...)
			b = appendLegacy(b, subject)
			b = append(b, "\r\nX-SSL-Client-I-DN: "...)
			b = appendLegacy(b, issuer)
			b = fmt.Appendf(b, "\r\nX-SSL-Client-M-Serial: %X\r\nX-SSL-Client-Cert: ", d.Leaf.SerialNumber.Bytes())
			b = appendOneLine(b, text)
			b = append(b, "\r\n"...)
		}
	}
	return b, nil
}

// appendEscaped writes p as nginx's $ssl_client_escaped_cert does: all but unreserved characters as %XX.
func appendEscaped(dst, p []byte) []byte {
	for _, c := range p {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '.', c == '_', c == '~':
			dst = append(dst, c)
		default:
			dst = fmt.Appendf(dst, "%%%02X", c)
		}
	}
	return dst
}

// appendOneLine writes PEM as Apache's mod_headers does: line ends become spaces.
func appendOneLine(dst, p []byte) []byte {
	for i, c := range p {
		switch {
		case c != '\n':
			dst = append(dst, c)
		case i < len(p)-1:
			dst = append(dst, ' ')
		}
	}
	return dst
}

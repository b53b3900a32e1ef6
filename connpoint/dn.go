package connpoint

import (
	"encoding/asn1"
	"encoding/hex"
	"fmt"
	"slices"
	"unicode/utf16"
)

// Distinguished names in the two text forms that servers behind nginx and Apache already read. Go's own String
// leaves control and non-ASCII characters as they are; these forms must be safe in a header field.

// attribute is one type and value of a name.
type attribute struct {
	Type  asn1.ObjectIdentifier
	Value asn1.RawValue
}

// relativeSET is one level of a name; encoding/asn1 reads types of this name ending as SET OF.
type relativeSET []attribute

// shortNames are OpenSSL's short names of the attribute types that it and we know.
var shortNames = map[string]string{
	"2.5.4.3":                    "CN",
	"2.5.4.4":                    "SN",
	"2.5.4.5":                    "serialNumber",
	"2.5.4.6":                    "C",
	"2.5.4.7":                    "L",
	"2.5.4.8":                    "ST",
	"2.5.4.9":                    "street",
	"2.5.4.10":                   "O",
	"2.5.4.11":                   "OU",
	"2.5.4.12":                   "title",
	"2.5.4.42":                   "GN",
	"2.5.4.46":                   "dnQualifier",
	"2.5.4.97":                   "organizationIdentifier",
	"0.9.2342.19200300.100.1.1":  "UID",
	"0.9.2342.19200300.100.1.25": "DC",
	"1.2.840.113549.1.9.1":       "emailAddress",
}

func parseName(der []byte) ([]relativeSET, error) {
	var name []relativeSET
	rest, err := asn1.Unmarshal(der, &name)
	if err != nil {
		return nil, fmt.Errorf("name: %w", err)
	}
	if len(rest) > 0 {
		return nil, fmt.Errorf("name: %d bytes behind it", len(rest))
	}
	return name, nil
}

// appendRFC2253 writes a name as nginx's $ssl_client_s_dn does: last level first, RFC 2253 escapes, other bytes
// outside printable ASCII as \XX.
func appendRFC2253(dst []byte, name []relativeSET) []byte {
	for i, level := range slices.Backward(name) {
		if i < len(name)-1 {
			dst = append(dst, ',')
		}
		for j, a := range level {
			if j > 0 {
				dst = append(dst, '+')
			}
			dst = appendRFC2253Attribute(dst, a)
		}
	}
	return dst
}

func appendRFC2253Attribute(dst []byte, a attribute) []byte {
	oid := a.Type.String()
	short, known := shortNames[oid]
	text, isText := textOf(a.Value)
	if !known || !isText {
		if !known {
			short = oid
		}
		dst = append(dst, short...)
		dst = append(dst, '=', '#')
		return hex.AppendEncode(dst, a.Value.FullBytes)
	}
	dst = append(dst, short...)
	dst = append(dst, '=')
	for i := range len(text) {
		dst = appendRFC2253Byte(dst, text[i], i == 0, i == len(text)-1)
	}
	return dst
}

func appendRFC2253Byte(dst []byte, c byte, first, last bool) []byte {
	switch {
	case c < ' ' || c > '~':
		return fmt.Appendf(dst, `\%02X`, c)
	case c == ',' || c == '+' || c == '"' || c == '\\' || c == '<' || c == '>' || c == ';',
		first && (c == '#' || c == ' '), last && c == ' ':
		return append(dst, '\\', c)
	}
	return append(dst, c)
}

// appendLegacy writes a name as Apache's LegacyDNStringFormat does: /C=DE/O=Example/CN=pc-1. Unlike OpenSSL it
// also escapes '/' inside a value, or a device could end its common name in /CN=somebody-else.
func appendLegacy(dst []byte, name []relativeSET) []byte {
	for _, level := range name {
		for _, a := range level {
			dst = append(dst, '/')
			short, known := shortNames[a.Type.String()]
			if !known {
				short = a.Type.String()
			}
			dst = append(append(dst, short...), '=')
			text, ok := textOf(a.Value)
			if !ok {
				dst = append(dst, '#')
				dst = hex.AppendEncode(dst, a.Value.FullBytes)
				continue
			}
			for i := range len(text) {
				if c := text[i]; c < ' ' || c > '~' || c == '/' || c == '\\' {
					dst = fmt.Appendf(dst, `\x%02X`, c)
				} else {
					dst = append(dst, c)
				}
			}
		}
	}
	return dst
}

// textOf returns a string value as UTF-8.
func textOf(v asn1.RawValue) (string, bool) {
	if v.Class != asn1.ClassUniversal || v.IsCompound {
		return "", false
	}
	switch v.Tag {
	case asn1.TagUTF8String, asn1.TagPrintableString, asn1.TagIA5String, asn1.TagNumericString, 26 /* VisibleString */ :
		return string(v.Bytes), true
	case asn1.TagT61String: // in practice ISO 8859-1
		runes := make([]rune, len(v.Bytes))
		for i, c := range v.Bytes {
			runes[i] = rune(c)
		}
		return string(runes), true
	case asn1.TagBMPString:
		if len(v.Bytes)%2 != 0 {
			return "", false
		}
		units := make([]uint16, len(v.Bytes)/2)
		for i := range units {
			units[i] = uint16(v.Bytes[2*i])<<8 | uint16(v.Bytes[2*i+1])
		}
		return string(utf16.Decode(units)), true
	}
	return "", false
}

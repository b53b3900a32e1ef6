package connpoint

import (
	"encoding/asn1"
	"strings"
	"testing"

	"github.com/causeway-gateway/causeway/internal/http1"
)

func name(t *testing.T, levels ...relativeSET) []relativeSET {
	t.Helper()
	der, err := asn1.Marshal(levels)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := parseName(der)
	if err != nil {
		t.Fatal(err)
	}
	return parsed
}

func attr(oid []int, tag int, value string) attribute {
	return attribute{oid, asn1.RawValue{Class: asn1.ClassUniversal, Tag: tag, Bytes: []byte(value)}}
}

var (
	oidCN = []int{2, 5, 4, 3}
	oidC  = []int{2, 5, 4, 6}
	oidOU = []int{2, 5, 4, 11}
	oidDC = []int{0, 9, 2342, 19200300, 100, 1, 25}
	oidX  = []int{1, 2, 3, 4}
)

// The wanted forms are those that OpenSSL prints with -nameopt RFC2253 and -nameopt compat.
func TestDistinguishedNames(t *testing.T) {
	for _, tt := range []struct {
		name            string
		in              []relativeSET
		rfc2253, legacy string
	}{
		{"plain", []relativeSET{{attr(oidC, asn1.TagPrintableString, "DE")}, {attr(oidCN, asn1.TagUTF8String, "pc-1")}}, "CN=pc-1,C=DE", "/C=DE/CN=pc-1"},
		{"two values", []relativeSET{{attr(oidCN, asn1.TagUTF8String, "a"), attr(oidOU, asn1.TagUTF8String, "b")}}, "CN=a+OU=b", "/CN=a/OU=b"},
		{"domain", []relativeSET{{attr(oidDC, asn1.TagIA5String, "local")}, {attr(oidDC, asn1.TagIA5String, "corp")}}, "DC=corp,DC=local", "/DC=local/DC=corp"},
		{"specials", []relativeSET{{attr(oidCN, asn1.TagUTF8String, `a,b+c"d\e<f>g;h=i`)}}, `CN=a\,b\+c\"d\\e\<f\>g\;h=i`, `/CN=a,b+c"d\x5Ce<f>g;h=i`},
		{"spaces at the ends", []relativeSET{{attr(oidCN, asn1.TagUTF8String, " a b ")}}, `CN=\ a b\ `, "/CN= a b "},
		{"hash first", []relativeSET{{attr(oidCN, asn1.TagUTF8String, "#1")}}, `CN=\#1`, "/CN=#1"},
		{"not ASCII", []relativeSET{{attr(oidCN, asn1.TagUTF8String, "Jürgen")}}, `CN=J\C3\BCrgen`, `/CN=J\xC3\xBCrgen`},
		{"latin 1", []relativeSET{{attr(oidCN, asn1.TagT61String, "J\xfcrgen")}}, `CN=J\C3\BCrgen`, `/CN=J\xC3\xBCrgen`},
		{"BMP", []relativeSET{{attr(oidCN, asn1.TagBMPString, "\x00J\x00\xfc")}}, `CN=J\C3\BC`, `/CN=J\xC3\xBC`},
		{"line break", []relativeSET{{attr(oidCN, asn1.TagUTF8String, "a\r\nX-Admin: yes")}}, `CN=a\0D\0AX-Admin: yes`, `/CN=a\x0D\x0AX-Admin: yes`},
		{"somebody else's name inside", []relativeSET{{attr(oidCN, asn1.TagUTF8String, "a/CN=admin")}}, "CN=a/CN=admin", `/CN=a\x2FCN=admin`},
		{"somebody else's name inside, RFC 2253", []relativeSET{{attr(oidCN, asn1.TagUTF8String, "a,CN=admin")}}, `CN=a\,CN=admin`, "/CN=a,CN=admin"},
		{"unknown type", []relativeSET{{attr(oidX, asn1.TagUTF8String, "a")}}, "1.2.3.4=#0c0161", "/1.2.3.4=a"},
		{"no string", []relativeSET{{attr(oidCN, asn1.TagOctetString, "a")}}, "CN=#040161", "/CN=#040161"},
		{"empty value", []relativeSET{{attr(oidCN, asn1.TagUTF8String, "")}}, "CN=", "/CN="},
		{"empty name", nil, "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			n := name(t, tt.in...)
			if got := string(appendRFC2253(nil, n)); got != tt.rfc2253 {
				t.Errorf("RFC 2253: %s, want %s", got, tt.rfc2253)
			}
			if got := string(appendLegacy(nil, n)); got != tt.legacy {
				t.Errorf("legacy: %s, want %s", got, tt.legacy)
			}
		})
	}
}

func FuzzNamesAreFieldValues(f *testing.F) {
	for _, s := range []string{"pc-1", "a\r\nb: c", "\x00", "ü", "a/b,c"} {
		for _, tag := range []int{asn1.TagUTF8String, asn1.TagT61String, asn1.TagBMPString, asn1.TagOctetString} {
			f.Add(s, tag)
		}
	}
	f.Fuzz(func(t *testing.T, value string, tag int) {
		if tag < 1 || tag > 30 || tag == asn1.TagSequence || tag == asn1.TagSet {
			return
		}
		n := []relativeSET{{attr(oidCN, tag, value)}}
		for _, out := range [][]byte{appendRFC2253(nil, n), appendLegacy(nil, n)} {
			if !http1.IsFieldValue(out) || strings.ContainsAny(string(out), "\r\n") {
				t.Errorf("%q becomes %q", value, out)
			}
		}
	})
}

func TestForeignBytesAreNoName(t *testing.T) {
	for _, der := range []string{"", "\x30\x00x", "\x31\x00", "\x30\x80\x00\x00"} {
		if _, err := parseName([]byte(der)); err == nil {
			t.Errorf("%x was read as a name", der)
		}
	}
}

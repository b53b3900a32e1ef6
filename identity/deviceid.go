package identity

import (
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"strings"

	"github.com/causeway-gateway/causeway"
)

var oidCommonName = asn1.ObjectIdentifier{2, 5, 4, 3}

// DeviceIDOf returns the name that a certificate gives to its device: the subject's common name, else the first
// DNS name. A common name that is not a legal id is an error and not passed over, so that a certificate has one
// name for every reader.
func DeviceIDOf(c *x509.Certificate) (causeway.DeviceID, error) {
	var names []string
	for _, attribute := range c.Subject.Names {
		if attribute.Type.Equal(oidCommonName) {
			name, ok := attribute.Value.(string)
			if !ok {
				return "", errors.New("its common name is not text")
			}
			names = append(names, name)
		}
	}
	switch {
	case len(names) > 1:
		return "", fmt.Errorf("it has %d common names, want one", len(names))
	case len(names) == 0 && len(c.DNSNames) > 0:
		names = c.DNSNames[:1]
	case len(names) == 0:
		return "", errors.New("it names no device: no common name, no DNS name")
	}
	id := causeway.DeviceID(names[0])
	return id, CheckDeviceID(id)
}

// CheckDeviceID says why a text is not a device id: 1 to 128 of the letters, digits and marks below, or spaces
// between them. Ids stand in headers, logs and file names, so quotes, commas and separators stay out.
func CheckDeviceID(id causeway.DeviceID) error {
	const marks = "._-:@+(){}$ "
	switch {
	case len(id) == 0 || len(id) > MaxDeviceIDBytes:
		return fmt.Errorf("device id of %d bytes, want 1 to %d", len(id), MaxDeviceIDBytes)
	case id[0] == ' ' || id[len(id)-1] == ' ':
		return fmt.Errorf("device id %q begins or ends with a space", id)
	}
	for _, b := range []byte(id) {
		letter := 'a' <= b && b <= 'z' || 'A' <= b && b <= 'Z' || '0' <= b && b <= '9'
		if !letter && !strings.ContainsRune(marks, rune(b)) {
			return fmt.Errorf("device id %q holds %q; letters, digits and %s are legal", id, rune(b), marks)
		}
	}
	return nil
}

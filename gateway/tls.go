package gateway

import (
	"crypto/tls"
	"time"
)

const protocolHTTP2 = "h2"

// deviceTLS is the configuration towards devices. A client certificate is requested and only possession of its key
// is checked here: the gateway judges the certificate itself, so that a missing or bad one gets an answer with a
// code instead of a mute alert. A resumed session brings the certificate of the first handshake with it, which is
// judged again like any other; tickets are sealed with keys that live in this process and change daily.
func deviceTLS(certs *Certificates, now func() time.Time) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		// Of TLS 1.2 only what has forward secrecy and authenticated encryption. TLS 1.3 has nothing else.
		CipherSuites: []uint16{
			tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
			tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
			tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
			tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
			tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
			tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
		},
		CurvePreferences:            []tls.CurveID{tls.X25519, tls.CurveP256},
		NextProtos:                  []string{protocolHTTP2, "http/1.1"},
		ClientAuth:                  tls.RequestClientCert,
		GetCertificate:              certs.get,
		DynamicRecordSizingDisabled: true,
		Time:                        now,
	}
}

// channelTLS is the configuration towards connection points. Which certificate is good is the Gatekeeper's to say,
// after the documents of the hello were applied: they can name the CA that signed it.
func channelTLS(certs *Certificates, now func() time.Time) *tls.Config {
	return &tls.Config{
		MinVersion:                  tls.VersionTLS13,
		CurvePreferences:            []tls.CurveID{tls.X25519, tls.CurveP256},
		ClientAuth:                  tls.RequireAnyClientCert,
		GetCertificate:              certs.get,
		SessionTicketsDisabled:      true,
		DynamicRecordSizingDisabled: true,
		Time:                        now,
	}
}

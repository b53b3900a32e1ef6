package causeway

import "strconv"

// A Code says which hop refused a request and why. The list is closed and only ever grows: numbers cross the
// channel, names reach devices (CMGService_ at the edge, CMGConnector_ at the connection point).
type Code uint16

// The codes. Numbers below 100 are the edge's, from 100 on the connection point's.
const (
	CodeNone Code = 0

	CodeBadRequest                 Code = 1
	CodeClientCertificateRequired  Code = 2
	CodeClientCertificateUntrusted Code = 3
	CodeClientCertificateExpired   Code = 4
	CodeClientCertificateNotYet    Code = 5
	CodeClientCertificateUnfit     Code = 6
	CodeClientCertificateBlocked   Code = 7
	CodeInvalidToken               Code = 8
	CodeURLNotPublished            Code = 9
	CodeMethodNotAllowed           Code = 10
	CodeBodyTooLarge               Code = 11
	CodeURITooLong                 Code = 12
	CodeHeadersTooLarge            Code = 13
	CodeMisdirected                Code = 14
	CodeTooManyRequests            Code = 15
	CodeNoConnectionPoint          Code = 16
	CodeOverloaded                 Code = 17
	CodeChannelLost                Code = 18
	CodeAnswerTimeout              Code = 19
	CodeRequestTimeout             Code = 20
	CodeUpgradeRefused             Code = 21
	CodeVersionNotSupported        Code = 22
	CodeNotImplemented             Code = 23
	CodeExpectationFailed          Code = 24
	CodeConfigurationStale         Code = 25
	CodeInternalError              Code = 26
	CodeForbidden                  Code = 27

	CodeConnectorForbidden         Code = 100
	CodeConnectorNotPublished      Code = 101
	CodeConnectorServerUnreachable Code = 102
	CodeConnectorServerReset       Code = 103
	CodeConnectorBadAnswer         Code = 104
	CodeConnectorServerTimeout     Code = 105
	CodeConnectorOverloaded        Code = 106
	CodeConnectorBadRequest        Code = 107
	CodeConnectorInternalError     Code = 108
	CodeConnectorDraining          Code = 109
	CodeConnectorRequestTimeout    Code = 110
)

// codes maps a code to the name and the HTTP status that devices see.
var codes = map[Code]struct {
	name   string
	status int
}{
	CodeBadRequest:                 {"CMGService_BadRequest", 400},
	CodeClientCertificateRequired:  {"CMGService_ClientCertificateRequired", 403},
	CodeClientCertificateUntrusted: {"CMGService_ClientCertificateUntrusted", 403},
	CodeClientCertificateExpired:   {"CMGService_ClientCertificateExpired", 403},
	CodeClientCertificateNotYet:    {"CMGService_ClientCertificateNotYetValid", 403},
	CodeClientCertificateUnfit:     {"CMGService_ClientCertificateUnfit", 403},
	CodeClientCertificateBlocked:   {"CMGService_ClientCertificateBlocked", 403},
	CodeInvalidToken:               {"CMGService_Invalid_Token", 401},
	CodeURLNotPublished:            {"CMGService_UrlNotPublished", 404},
	CodeMethodNotAllowed:           {"CMGService_MethodNotAllowed", 405},
	CodeBodyTooLarge:               {"CMGService_BodyTooLarge", 413},
	CodeURITooLong:                 {"CMGService_UriTooLong", 414},
	CodeHeadersTooLarge:            {"CMGService_HeadersTooLarge", 431},
	CodeMisdirected:                {"CMGService_Misdirected", 421},
	CodeTooManyRequests:            {"CMGService_TooManyRequests", 429},
	CodeNoConnectionPoint:          {"CMGService_NoConnectionPoint", 503},
	CodeOverloaded:                 {"CMGService_Overloaded", 503},
	CodeChannelLost:                {"CMGService_ChannelLost", 502},
	CodeAnswerTimeout:              {"CMGService_AnswerTimeout", 504},
	CodeRequestTimeout:             {"CMGService_RequestTimeout", 408},
	CodeUpgradeRefused:             {"CMGService_UpgradeRefused", 400},
	CodeVersionNotSupported:        {"CMGService_VersionNotSupported", 505},
	CodeNotImplemented:             {"CMGService_NotImplemented", 501},
	CodeExpectationFailed:          {"CMGService_ExpectationFailed", 417},
	CodeConfigurationStale:         {"CMGService_ConfigurationStale", 503},
	CodeInternalError:              {"CMGService_InternalServerError", 500},
	CodeForbidden:                  {"CMGService_Forbidden", 403},

	CodeConnectorForbidden:         {"CMGConnector_Forbidden", 403},
	CodeConnectorNotPublished:      {"CMGConnector_NotPublished", 403},
	CodeConnectorServerUnreachable: {"CMGConnector_ServerUnreachable", 502},
	CodeConnectorServerReset:       {"CMGConnector_ServerReset", 502},
	CodeConnectorBadAnswer:         {"CMGConnector_BadAnswer", 502},
	CodeConnectorServerTimeout:     {"CMGConnector_ServerTimeout", 504},
	CodeConnectorOverloaded:        {"CMGConnector_Overloaded", 503},
	CodeConnectorBadRequest:        {"CMGConnector_BadRequest", 400},
	CodeConnectorInternalError:     {"CMGConnector_InternalServerError", 500},
	CodeConnectorDraining:          {"CMGConnector_Draining", 503},
	CodeConnectorRequestTimeout:    {"CMGConnector_RequestTimeout", 408},
}

// String returns the name that devices and logs see.
func (c Code) String() string {
	if e, ok := codes[c]; ok {
		return e.name
	}
	return "CMG_Code" + strconv.Itoa(int(c))
}

// Status returns the HTTP status that goes with the code; a code this version does not know is 502.
func (c Code) Status() int {
	if e, ok := codes[c]; ok {
		return e.status
	}
	return 502
}

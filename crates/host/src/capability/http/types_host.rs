//! `wasi:http/types`, method by method.

use std::time::Duration;

use http::{Method, StatusCode};
use wasmtime::Result;
use wasmtime::component::Resource;
use wasmtime_wasi::p2::bindings::io::error::Error as IoError;
use wasmtime_wasi_io::poll::{DynPollable, subscribe};
use wasmtime_wasi_io::streams::{DynInputStream, DynOutputStream};

use super::client::FutureState;
use super::error::{CodedError, guest_answered, header_error};
use super::fields::{FieldError, Fields};
use super::incoming::{FutureTrailers, Incoming, Reader};
use super::outgoing::{BodySlot, OutgoingBody, OutgoingRequest, OutgoingResponse, RequestOptions};
use super::pipe::Writer;
use super::types::{self, ErrorCode, HeaderError, Scheme};
use super::{
    FutureIncomingResponse, HttpView, IncomingBody, IncomingRequest, IncomingResponse, ResponseOutparam,
    TrappableCode, TrappableHeaderError,
};

type FieldResult = Result<(), TrappableHeaderError>;

impl types::Host for HttpView<'_> {
    fn convert_error_code(&mut self, error: TrappableCode) -> Result<ErrorCode> {
        error.downcast()
    }

    fn convert_header_error(&mut self, error: TrappableHeaderError) -> Result<HeaderError> {
        error.downcast()
    }

    fn http_error_code(&mut self, error: Resource<IoError>) -> Result<Option<ErrorCode>> {
        let error = self.table.get(&error)?;
        Ok(error.downcast_ref::<CodedError>().map(|coded| coded.0.clone()))
    }
}

fn trappable(error: FieldError) -> TrappableHeaderError {
    match header_error(error) {
        Ok(error) => error.into(),
        Err(trap) => TrappableHeaderError::trap(trap),
    }
}

fn header_trap(error: wasmtime::component::ResourceTableError) -> TrappableHeaderError {
    TrappableHeaderError::trap(error)
}

fn code_trap(error: wasmtime::component::ResourceTableError) -> TrappableCode {
    TrappableCode::trap(error)
}

impl types::HostFields for HttpView<'_> {
    fn new(&mut self) -> Result<Resource<Fields>> {
        Ok(self.table.push(Fields::default())?)
    }

    fn from_list(
        &mut self,
        entries: Vec<(String, Vec<u8>)>,
    ) -> Result<Resource<Fields>, TrappableHeaderError> {
        let mut fields = Fields::default();
        for (name, value) in entries {
            fields.append(&name, value, self.context.header_list_bytes).map_err(trappable)?;
        }
        self.table.push(fields).map_err(header_trap)
    }

    fn get(&mut self, fields: Resource<Fields>, name: String) -> Result<Vec<Vec<u8>>> {
        let fields = self.table.get(&fields)?;
        Ok(fields.map().get_all(name.as_str()).iter().map(|value| value.as_bytes().to_vec()).collect())
    }

    fn has(&mut self, fields: Resource<Fields>, name: String) -> Result<bool> {
        Ok(self.table.get(&fields)?.map().contains_key(name.as_str()))
    }

    fn set(&mut self, fields: Resource<Fields>, name: String, values: Vec<Vec<u8>>) -> FieldResult {
        let limit = self.context.header_list_bytes;
        self.table.get_mut(&fields).map_err(header_trap)?.set(&name, values, limit).map_err(trappable)
    }

    fn delete(&mut self, fields: Resource<Fields>, name: String) -> FieldResult {
        self.table.get_mut(&fields).map_err(header_trap)?.delete(&name).map_err(trappable)
    }

    fn append(&mut self, fields: Resource<Fields>, name: String, value: Vec<u8>) -> FieldResult {
        let limit = self.context.header_list_bytes;
        self.table.get_mut(&fields).map_err(header_trap)?.append(&name, value, limit).map_err(trappable)
    }

    fn entries(&mut self, fields: Resource<Fields>) -> Result<Vec<(String, Vec<u8>)>> {
        let fields = self.table.get(&fields)?;
        Ok(fields.map().iter().map(|(name, value)| (name.to_string(), value.as_bytes().to_vec())).collect())
    }

    fn clone(&mut self, fields: Resource<Fields>) -> Result<Resource<Fields>> {
        let copy = self.table.get(&fields)?.editable();
        Ok(self.table.push(copy)?)
    }

    fn drop(&mut self, fields: Resource<Fields>) -> Result<()> {
        self.table.delete(fields)?;
        Ok(())
    }
}

impl types::HostIncomingRequest for HttpView<'_> {
    fn method(&mut self, request: Resource<IncomingRequest>) -> Result<types::Method> {
        Ok(method_to_guest(&self.table.get(&request)?.method))
    }

    fn path_with_query(&mut self, request: Resource<IncomingRequest>) -> Result<Option<String>> {
        Ok(self.table.get(&request)?.uri.path_and_query().map(ToString::to_string))
    }

    fn scheme(&mut self, request: Resource<IncomingRequest>) -> Result<Option<Scheme>> {
        Ok(Some(scheme_to_guest(&self.table.get(&request)?.scheme)))
    }

    fn authority(&mut self, request: Resource<IncomingRequest>) -> Result<Option<String>> {
        let request = self.table.get(&request)?;
        let from_host = || request.host.as_ref().and_then(|host| host.to_str().ok());
        Ok(request.uri.authority().map(|authority| authority.as_str()).or_else(from_host).map(str::to_owned))
    }

    fn headers(&mut self, request: Resource<IncomingRequest>) -> Result<Resource<Fields>> {
        let headers = self.table.get(&request)?.headers.clone();
        Ok(self.table.push(headers)?)
    }

    fn consume(&mut self, request: Resource<IncomingRequest>) -> Result<Result<Resource<IncomingBody>, ()>> {
        let body = self.table.get_mut(&request)?.body.take();
        push_body(self, body)
    }

    fn drop(&mut self, request: Resource<IncomingRequest>) -> Result<()> {
        self.table.delete(request)?;
        Ok(())
    }
}

impl types::HostIncomingResponse for HttpView<'_> {
    fn status(&mut self, response: Resource<IncomingResponse>) -> Result<u16> {
        Ok(self.table.get(&response)?.status)
    }

    fn headers(&mut self, response: Resource<IncomingResponse>) -> Result<Resource<Fields>> {
        let headers = self.table.get(&response)?.headers.clone();
        Ok(self.table.push(headers)?)
    }

    fn consume(
        &mut self,
        response: Resource<IncomingResponse>,
    ) -> Result<Result<Resource<IncomingBody>, ()>> {
        let body = self.table.get_mut(&response)?.body.take();
        push_body(self, body)
    }

    fn drop(&mut self, response: Resource<IncomingResponse>) -> Result<()> {
        self.table.delete(response)?;
        Ok(())
    }
}

fn push_body(
    view: &mut HttpView<'_>,
    body: Option<shoal_runtime::Body>,
) -> Result<Result<Resource<IncomingBody>, ()>> {
    let Some(body) = body else { return Ok(Err(())) };
    let body = IncomingBody { incoming: Incoming::new(body), stream_taken: false };
    Ok(Ok(view.table.push(body)?))
}

impl types::HostIncomingBody for HttpView<'_> {
    fn stream(&mut self, body: Resource<IncomingBody>) -> Result<Result<Resource<DynInputStream>, ()>> {
        let incoming = self.table.get_mut(&body)?;
        if std::mem::replace(&mut incoming.stream_taken, true) {
            return Ok(Err(()));
        }
        let stream: DynInputStream = Box::new(Reader(incoming.incoming.clone()));
        Ok(Ok(self.table.push_child(stream, &body)?))
    }

    fn finish(&mut self, body: Resource<IncomingBody>) -> Result<Resource<FutureTrailers>> {
        let body = self.table.delete(body)?;
        Ok(self.table.push(FutureTrailers { incoming: body.incoming, taken: false })?)
    }

    fn drop(&mut self, body: Resource<IncomingBody>) -> Result<()> {
        self.table.delete(body)?;
        Ok(())
    }
}

type TrailersAnswer = Option<Result<Result<Option<Resource<Fields>>, ErrorCode>, ()>>;

impl types::HostFutureTrailers for HttpView<'_> {
    fn subscribe(&mut self, future: Resource<FutureTrailers>) -> Result<Resource<DynPollable>> {
        subscribe(self.table, future)
    }

    fn get(&mut self, future: Resource<FutureTrailers>) -> Result<TrailersAnswer> {
        let future = self.table.get_mut(&future)?;
        let Some(end) = future.incoming.trailers() else { return Ok(None) };
        if std::mem::replace(&mut future.taken, true) {
            return Ok(Some(Err(())));
        }
        Ok(Some(Ok(match end {
            Err(error) => Err(ErrorCode::from(&error)),
            Ok(None) => Ok(None),
            Ok(Some(trailers)) => Ok(Some(self.table.push(Fields::received(trailers))?)),
        })))
    }

    fn drop(&mut self, future: Resource<FutureTrailers>) -> Result<()> {
        self.table.delete(future)?;
        Ok(())
    }
}

impl types::HostOutgoingResponse for HttpView<'_> {
    fn new(&mut self, headers: Resource<Fields>) -> Result<Resource<OutgoingResponse>> {
        let headers = self.table.delete(headers)?.frozen();
        Ok(self.table.push(OutgoingResponse { status: StatusCode::OK, headers, body: BodySlot::EMPTY })?)
    }

    fn status_code(&mut self, response: Resource<OutgoingResponse>) -> Result<u16> {
        Ok(self.table.get(&response)?.status.as_u16())
    }

    fn set_status_code(
        &mut self,
        response: Resource<OutgoingResponse>,
        status: u16,
    ) -> Result<Result<(), ()>> {
        let response = self.table.get_mut(&response)?;
        // A final response has a status from 200 to 599; 1xx go out by themselves, more is not HTTP.
        Ok(match StatusCode::from_u16(status) {
            Ok(status) if (200..600).contains(&status.as_u16()) => {
                response.status = status;
                Ok(())
            }
            Ok(_) | Err(_) => Err(()),
        })
    }

    fn headers(&mut self, response: Resource<OutgoingResponse>) -> Result<Resource<Fields>> {
        let headers = self.table.get(&response)?.headers.clone();
        Ok(self.table.push(headers)?)
    }

    fn body(&mut self, response: Resource<OutgoingResponse>) -> Result<Result<Resource<OutgoingBody>, ()>> {
        let limit = self.context.body_bytes;
        let response = self.table.get_mut(&response)?;
        let Some(pipe) = response.body.take(&response.headers, limit) else { return Ok(Err(())) };
        Ok(Ok(self.table.push(OutgoingBody::new(pipe))?))
    }

    fn drop(&mut self, response: Resource<OutgoingResponse>) -> Result<()> {
        self.table.delete(response)?;
        Ok(())
    }
}

impl types::HostResponseOutparam for HttpView<'_> {
    fn set(
        &mut self,
        outparam: Resource<ResponseOutparam>,
        answer: Result<Resource<OutgoingResponse>, ErrorCode>,
    ) -> Result<()> {
        let outparam = self.table.delete(outparam)?;
        let answer = match answer {
            Ok(response) => Ok(self.table.delete(response)?),
            Err(code) => Err(guest_answered(&code)),
        };
        outparam.0.set(answer);
        Ok(())
    }

    fn send_informational(
        &mut self,
        _outparam: Resource<ResponseOutparam>,
        _status: u16,
        _headers: Resource<Fields>,
    ) -> Result<(), TrappableCode> {
        let reason = "informational responses (1xx) cannot be sent by this host";
        Err(ErrorCode::InternalError(Some(reason.into())).into())
    }

    fn drop(&mut self, outparam: Resource<ResponseOutparam>) -> Result<()> {
        self.table.delete(outparam)?;
        Ok(())
    }
}

impl types::HostOutgoingBody for HttpView<'_> {
    fn write(&mut self, body: Resource<OutgoingBody>) -> Result<Result<Resource<DynOutputStream>, ()>> {
        let outgoing = self.table.get_mut(&body)?;
        if std::mem::replace(&mut outgoing.stream_taken, true) {
            return Ok(Err(()));
        }
        let stream: DynOutputStream = Box::new(Writer(outgoing.pipe.clone()));
        Ok(Ok(self.table.push_child(stream, &body)?))
    }

    fn finish(
        &mut self,
        body: Resource<OutgoingBody>,
        trailers: Option<Resource<Fields>>,
    ) -> Result<(), TrappableCode> {
        let trailers = match trailers {
            Some(trailers) => Some(self.table.delete(trailers).map_err(code_trap)?.into_map()),
            None => None,
        };
        let mut body = self.table.delete(body).map_err(code_trap)?;
        body.finished = true;
        body.pipe
            .finish(trailers)
            .map_err(|wrong| ErrorCode::HttpResponseBodySize(Some(wrong.written_bytes)).into())
    }

    fn drop(&mut self, body: Resource<OutgoingBody>) -> Result<()> {
        self.table.delete(body)?;
        Ok(())
    }
}

impl types::HostOutgoingRequest for HttpView<'_> {
    fn new(&mut self, headers: Resource<Fields>) -> Result<Resource<OutgoingRequest>> {
        let headers = self.table.delete(headers)?.frozen();
        Ok(self.table.push(OutgoingRequest {
            method: Method::GET,
            scheme: None,
            authority: None,
            path_with_query: None,
            headers,
            body: BodySlot::EMPTY,
        })?)
    }

    fn body(&mut self, request: Resource<OutgoingRequest>) -> Result<Result<Resource<OutgoingBody>, ()>> {
        let limit = self.context.body_bytes;
        let request = self.table.get_mut(&request)?;
        let Some(pipe) = request.body.take(&request.headers, limit) else { return Ok(Err(())) };
        Ok(Ok(self.table.push(OutgoingBody::new(pipe))?))
    }

    fn method(&mut self, request: Resource<OutgoingRequest>) -> Result<types::Method> {
        Ok(method_to_guest(&self.table.get(&request)?.method))
    }

    fn set_method(
        &mut self,
        request: Resource<OutgoingRequest>,
        method: types::Method,
    ) -> Result<Result<(), ()>> {
        let request = self.table.get_mut(&request)?;
        Ok(method_from_guest(&method).map(|method| request.method = method).ok_or(()))
    }

    fn path_with_query(&mut self, request: Resource<OutgoingRequest>) -> Result<Option<String>> {
        Ok(self.table.get(&request)?.path_with_query.as_ref().map(|path| path.as_str().into()))
    }

    fn set_path_with_query(
        &mut self,
        request: Resource<OutgoingRequest>,
        path: Option<String>,
    ) -> Result<Result<(), ()>> {
        let request = self.table.get_mut(&request)?;
        Ok(parse(path).map(|path| request.path_with_query = path))
    }

    fn scheme(&mut self, request: Resource<OutgoingRequest>) -> Result<Option<Scheme>> {
        Ok(self.table.get(&request)?.scheme.as_ref().map(scheme_to_guest))
    }

    fn set_scheme(
        &mut self,
        request: Resource<OutgoingRequest>,
        scheme: Option<Scheme>,
    ) -> Result<Result<(), ()>> {
        let request = self.table.get_mut(&request)?;
        let scheme = match scheme {
            None => None,
            Some(Scheme::Http) => Some(http::uri::Scheme::HTTP),
            Some(Scheme::Https) => Some(http::uri::Scheme::HTTPS),
            Some(Scheme::Other(other)) => match other.parse() {
                Ok(scheme) => Some(scheme),
                Err(_) => return Ok(Err(())),
            },
        };
        request.scheme = scheme;
        Ok(Ok(()))
    }

    fn authority(&mut self, request: Resource<OutgoingRequest>) -> Result<Option<String>> {
        Ok(self.table.get(&request)?.authority.as_ref().map(|authority| authority.as_str().into()))
    }

    fn set_authority(
        &mut self,
        request: Resource<OutgoingRequest>,
        authority: Option<String>,
    ) -> Result<Result<(), ()>> {
        let request = self.table.get_mut(&request)?;
        Ok(parse(authority).map(|authority| request.authority = authority))
    }

    fn headers(&mut self, request: Resource<OutgoingRequest>) -> Result<Resource<Fields>> {
        let headers = self.table.get(&request)?.headers.clone();
        Ok(self.table.push(headers)?)
    }

    fn drop(&mut self, request: Resource<OutgoingRequest>) -> Result<()> {
        self.table.delete(request)?;
        Ok(())
    }
}

impl types::HostRequestOptions for HttpView<'_> {
    fn new(&mut self) -> Result<Resource<RequestOptions>> {
        Ok(self.table.push(RequestOptions::default())?)
    }

    fn connect_timeout(&mut self, options: Resource<RequestOptions>) -> Result<Option<u64>> {
        Ok(nanos(self.table.get(&options)?.connect_timeout))
    }

    fn set_connect_timeout(
        &mut self,
        options: Resource<RequestOptions>,
        ns: Option<u64>,
    ) -> Result<Result<(), ()>> {
        self.table.get_mut(&options)?.connect_timeout = ns.map(Duration::from_nanos);
        Ok(Ok(()))
    }

    fn first_byte_timeout(&mut self, options: Resource<RequestOptions>) -> Result<Option<u64>> {
        Ok(nanos(self.table.get(&options)?.first_byte_timeout))
    }

    fn set_first_byte_timeout(
        &mut self,
        options: Resource<RequestOptions>,
        ns: Option<u64>,
    ) -> Result<Result<(), ()>> {
        self.table.get_mut(&options)?.first_byte_timeout = ns.map(Duration::from_nanos);
        Ok(Ok(()))
    }

    fn between_bytes_timeout(&mut self, options: Resource<RequestOptions>) -> Result<Option<u64>> {
        Ok(nanos(self.table.get(&options)?.between_bytes_timeout))
    }

    fn set_between_bytes_timeout(
        &mut self,
        options: Resource<RequestOptions>,
        ns: Option<u64>,
    ) -> Result<Result<(), ()>> {
        self.table.get_mut(&options)?.between_bytes_timeout = ns.map(Duration::from_nanos);
        Ok(Ok(()))
    }

    fn drop(&mut self, options: Resource<RequestOptions>) -> Result<()> {
        self.table.delete(options)?;
        Ok(())
    }
}

type ResponseAnswer = Option<Result<Result<Resource<IncomingResponse>, ErrorCode>, ()>>;

impl types::HostFutureIncomingResponse for HttpView<'_> {
    fn subscribe(&mut self, future: Resource<FutureIncomingResponse>) -> Result<Resource<DynPollable>> {
        subscribe(self.table, future)
    }

    fn get(&mut self, future: Resource<FutureIncomingResponse>) -> Result<ResponseAnswer> {
        Ok(match self.table.get_mut(&future)?.take() {
            FutureState::Pending => None,
            FutureState::Taken => Some(Err(())),
            FutureState::Ready(Err(code)) => Some(Ok(Err(code))),
            FutureState::Ready(Ok(response)) => Some(Ok(Ok(self.table.push(response)?))),
        })
    }

    fn drop(&mut self, future: Resource<FutureIncomingResponse>) -> Result<()> {
        self.table.delete(future)?;
        Ok(())
    }
}

fn nanos(duration: Option<Duration>) -> Option<u64> {
    duration.map(|duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX))
}

fn parse<T: std::str::FromStr>(text: Option<String>) -> Result<Option<T>, ()> {
    match text {
        None => Ok(None),
        Some(text) => text.parse().map(Some).map_err(|_| ()),
    }
}

fn scheme_to_guest(scheme: &http::uri::Scheme) -> Scheme {
    match scheme.as_str() {
        "http" => Scheme::Http,
        "https" => Scheme::Https,
        other => Scheme::Other(other.into()),
    }
}

fn method_to_guest(method: &Method) -> types::Method {
    match *method {
        Method::GET => types::Method::Get,
        Method::HEAD => types::Method::Head,
        Method::POST => types::Method::Post,
        Method::PUT => types::Method::Put,
        Method::DELETE => types::Method::Delete,
        Method::CONNECT => types::Method::Connect,
        Method::OPTIONS => types::Method::Options,
        Method::TRACE => types::Method::Trace,
        Method::PATCH => types::Method::Patch,
        ref other => types::Method::Other(other.as_str().into()),
    }
}

fn method_from_guest(method: &types::Method) -> Option<Method> {
    Some(match method {
        types::Method::Get => Method::GET,
        types::Method::Head => Method::HEAD,
        types::Method::Post => Method::POST,
        types::Method::Put => Method::PUT,
        types::Method::Delete => Method::DELETE,
        types::Method::Connect => Method::CONNECT,
        types::Method::Options => Method::OPTIONS,
        types::Method::Trace => Method::TRACE,
        types::Method::Patch => Method::PATCH,
        types::Method::Other(other) => Method::from_bytes(other.as_bytes()).ok()?,
    })
}

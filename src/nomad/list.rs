//! Lists, page by page and element by element.

use std::time::Duration;

use bytes::Bytes;
use reqwest::{Response, header::HeaderMap};
use tokio::time::timeout;

use super::{
    client::{Call, Client},
    elements::Elements,
    error::Error,
    topic::Table,
};
use crate::{
    http::{self, Server},
    position::RaftIndex,
};

/// Which page of which list.
#[derive(Clone, Copy, Debug)]
pub struct ListQuery<'a> {
    /// The table.
    pub table: Table,
    /// A namespace, or `*` for all that the token may read. It is not sent for tables without namespaces.
    pub namespace: &'a str,
    /// The number of elements of a page; 0 asks for the whole list.
    pub per_page: u32,
    /// [`Page::next_token`] of the previous page.
    pub next_token: Option<&'a str>,
    /// Makes this a blocking query. Nomad answers when the table's index is at or above this, or when `wait` is over,
    /// so check [`Page::index`].
    pub min_index: Option<RaftIndex>,
    /// The longest wait of a blocking query. Nomad adds up to a sixteenth, and never waits longer than 5 minutes.
    pub wait: Duration,
    /// Whether allocations are listed with the states of their tasks, which are most of their size. Nomad before 1.0
    /// always sends the states.
    pub task_states: bool,
    /// Whether the list begins with its last element. Nomad knows this of lists that are ordered by creation.
    pub reverse: bool,
    /// Whether any server may answer from its own state, which can lag. Otherwise the leader answers.
    pub stale: bool,
}

impl<'a> ListQuery<'a> {
    /// The first page, with Nomad's default size, from the leader, without a wait.
    pub fn new(table: Table, namespace: &'a str) -> Self {
        ListQuery {
            table,
            namespace,
            per_page: 0,
            next_token: None,
            min_index: None,
            wait: Duration::from_secs(30),
            task_states: true,
            reverse: false,
            stale: false,
        }
    }

    /// The same request in its shortest form, for the table's current index.
    fn at_once(&self) -> Self {
        ListQuery { per_page: 1, next_token: None, min_index: None, task_states: false, ..*self }
    }

    /// The index to wait past. 0 would not wait at all.
    fn past(&self) -> Option<u64> {
        self.min_index.map(|index| index.0.saturating_sub(1)).filter(|past| *past > 0)
    }

    fn call(&self) -> Call {
        let name = self.table.path().trim_start_matches("/v1/");
        let mut query = Vec::new();
        if self.table.namespaced() {
            query.push(("namespace", self.namespace.to_owned()));
        }
        if self.per_page > 0 {
            query.push(("per_page", self.per_page.to_string()));
        }
        if let Some(token) = self.next_token {
            query.push(("next_token", token.to_owned()));
        }
        if let Some(past) = self.past() {
            query.push(("index", past.to_string()));
            query.push(("wait", format!("{}ms", self.wait.as_millis())));
        }
        if self.table == Table::Allocations && !self.task_states {
            query.push(("task_states", "false".to_owned()));
        }
        if self.reverse {
            query.push(("reverse", "true".to_owned()));
        }
        if self.stale {
            query.push(("stale", "true".to_owned()));
        }
        Call {
            what: format!("the list of {name}"),
            path: self.table.path().to_owned(),
            query,
            needs: Error::needs(self.table.topic(), self.namespace),
        }
    }
}

/// One page of a list. Its elements are decoded while they arrive.
#[derive(Debug)]
pub struct Page {
    /// The table's raft index at the time of the answer.
    pub index: RaftIndex,
    /// The token of the next page; `None` on the last one.
    pub next_token: Option<String>,
    /// Whether the server knew a leader. Without one, a stale answer can be of any age.
    pub known_leader: bool,
    /// How long ago the server that answered heard from the leader; zero for the leader itself.
    pub last_contact: Duration,
    address: String,
    what: String,
    idle: Duration,
    elements: Elements,
    /// `None` after the end of the body, or after the page has failed.
    body: Option<Response>,
}

impl Page {
    /// The next element, as Nomad sent it; `None` after the last. Cancel-safe. The element can share the memory of its
    /// neighbours, so copy what you keep.
    ///
    /// # Errors
    /// The rest of the page did not come, or is not a JSON array. A page that failed gives no more elements: ask again.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        loop {
            match self.elements.next() {
                Ok(Some(element)) => return Ok(Some(element)),
                Ok(None) => {}
                Err(broken) => return Err(self.garbage(&broken)),
            }
            let Some(body) = &mut self.body else {
                return Ok(None);
            };
            match timeout(self.idle, body.chunk()).await {
                Ok(Ok(Some(chunk))) => self.elements.push(chunk),
                Ok(Ok(None)) => {
                    self.body = None;
                    self.elements.end().map_err(|broken| self.garbage(&broken))?;
                }
                Ok(Err(error)) => {
                    let reason = http::reason(&error);
                    self.fail();
                    return Err(Error::Broken { address: self.address.clone(), what: self.what.clone(), reason });
                }
                Err(_) => {
                    self.fail();
                    let (address, what) = (self.address.clone(), format!("more of {}", self.what));
                    return Err(Error::Timeout { address, what, after: self.idle });
                }
            }
        }
    }

    /// The label of the address that answered.
    pub fn server(&self) -> &str {
        &self.address
    }

    fn fail(&mut self) {
        self.body = None;
        self.elements = Elements::default();
    }

    fn garbage(&mut self, broken: &super::elements::Broken) -> Error {
        self.fail();
        Error::Garbage { address: self.address.clone(), what: self.what.clone(), text: broken.to_string() }
    }
}

impl Client {
    /// Requests one page of a list.
    ///
    /// # Errors
    /// See [`Error`]. A list that the token may not read is [`Error::Denied`]. With the namespace `*`, Nomad leaves out what
    /// the token may not read, without saying so.
    pub async fn list(&self, query: &ListQuery<'_>) -> Result<Page, Error> {
        let call = query.call();
        let waits = if query.past().is_some() { query.wait + query.wait / 16 } else { Duration::ZERO };
        let (response, server) = self.get(&call, self.deadline() + waits).await?;
        let headers = response.headers();
        let index = index_of(server, &call, headers)?;
        self.believe(&server.label, index, || query.at_once().call()).await?;
        Ok(Page {
            index,
            next_token: header(headers, "x-nomad-nexttoken").filter(|token| !token.is_empty()).map(str::to_owned),
            known_leader: header(headers, "x-nomad-knownleader") == Some("true"),
            last_contact: Duration::from_millis(
                header(headers, "x-nomad-lastcontact").and_then(|text| text.parse().ok()).unwrap_or(0),
            ),
            address: server.label.clone(),
            what: call.what,
            idle: self.limits().page_idle,
            elements: Elements::default(),
            body: Some(response),
        })
    }

    /// The raft index of the last change to `table`, from the leader.
    ///
    /// # Errors
    /// As [`Client::list`].
    pub async fn table_index(&self, table: Table, namespace: &str) -> Result<RaftIndex, Error> {
        Ok(self.table(&ListQuery::new(table, namespace)).await?.index)
    }

    /// The index of the table of `query`, at the cost of one element of its list.
    ///
    /// # Errors
    /// As [`Client::list`].
    pub async fn table(&self, query: &ListQuery<'_>) -> Result<TableState, Error> {
        let mut page = self.list(&ListQuery { per_page: 1, task_states: false, ..*query }).await?;
        // After reading to its end, the connection can be used again. An old Nomad that does not page would send everything:
        // that costs only the connection.
        let mut elements = 0;
        while elements < 2 && page.next().await?.is_some() {
            elements += 1;
        }
        let Page { index, known_leader, last_contact, address, .. } = page;
        Ok(TableState { index, known_leader, last_contact, server: address, is_empty: elements == 0 })
    }
}

/// The index of a table, and how far the server that answered may be behind.
#[derive(Clone, Debug)]
pub struct TableState {
    /// The raft index of the last change to the table.
    pub index: RaftIndex,
    /// As [`Page::known_leader`].
    pub known_leader: bool,
    /// As [`Page::last_contact`].
    pub last_contact: Duration,
    /// The label of the address that answered.
    pub server: String,
    /// Whether the list is empty.
    pub is_empty: bool,
}

/// The table's index in the head of an answer.
pub(super) fn index_of(server: &Server, call: &Call, headers: &HeaderMap) -> Result<RaftIndex, Error> {
    header(headers, "x-nomad-index").and_then(|text| text.parse().ok()).map(RaftIndex).ok_or_else(|| Error::Garbage {
        address: server.label.clone(),
        what: call.what.clone(),
        text: "it has no X-Nomad-Index; check that NOMAD_ADDR is a Nomad agent".to_owned(),
    })
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

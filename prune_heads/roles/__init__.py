"""What role each head plays: definitions, the patterns they are about, and how maps are reduced to scores."""

from prune_heads.roles.definitions import FAMILIES, NONE, RELATION_SCORES, ROLES, SCORES, Vocabulary, roles_of
from prune_heads.roles.measure import Roles
from prune_heads.roles.syntax import Parse, Sentence

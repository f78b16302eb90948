"""What role each head plays: definitions, the patterns they are about, and how maps are reduced to scores."""

from prune_heads.roles.definitions import NONE, RELATION_SCORES, RELATIONS, ROLES, SCORES, Role, Score, roles_of
from prune_heads.roles.measure import Measured, Roles
from prune_heads.roles.patterns import Tokens, Vocabulary, patterns
from prune_heads.roles.syntax import Parse, Sentence, aligned, from_conllu, from_tree
